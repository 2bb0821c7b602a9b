package inference

import (
	"fmt"
	"strings"
	"unicode"
)

// Quote keeps a foreign name printable and short, for messages.
func Quote(s string) string {
	if len(s) > 60 {
		s = s[:60] + "…"
	}
	return fmt.Sprintf("%q", s)
}

// QuoteNames lists the quoted names of a model's parts, the first eight of them.
func QuoteNames[T any](parts []T, name func(T) string) string {
	var out []string
	for _, p := range parts[:min(len(parts), 8)] {
		out = append(out, Quote(name(p)))
	}
	if len(parts) > 8 {
		out = append(out, "…")
	}
	return strings.Join(out, ", ")
}

// longest is how much of a library's message a line for people holds, in bytes.
const longest = 300

// OneLine makes one short printable line of a library's words.
func OneLine(text string) string {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsGraphic(r) {
			return '?'
		}
		return r
	}, strings.Join(strings.Fields(strings.ToValidUTF8(text, "?")), " "))
	if len(text) > longest {
		text = strings.ToValidUTF8(text[:longest], "") + "…"
	}
	return text
}
