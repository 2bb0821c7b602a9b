package tflite

import (
	"regexp"
	"strings"
	"unicode"

	"heron/inference"
)

// longest is how much of a library's message a line for people holds, in bytes.
const longest = 300

// sourcePlace is how many of TensorFlow Lite's messages begin: file and line.
var sourcePlace = regexp.MustCompile(`\S*/tensorflow/lite/\S+:\d+ `)

// plain makes one short printable line of a library's words.
func plain(text string) string {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsGraphic(r) {
			return '?'
		}
		return r
	}, sourcePlace.ReplaceAllString(strings.Join(strings.Fields(strings.ToValidUTF8(text, "?")), " "), ""))
	if len(text) > longest {
		text = strings.ToValidUTF8(text[:longest], "") + "…"
	}
	return text
}

// unavailable is the refusal of an engine whose library or device is not here, or not to be had now.
func unavailable(next, what string) *inference.Refusal {
	return &inference.Refusal{Code: inference.CodeUnavailable, What: plain(what), NextStep: next, Err: inference.ErrUnavailable}
}

// explain makes a refusal of what TensorFlow Lite says of a model.
func explain(version, text string) *inference.Refusal {
	code, next := inference.CodeFormat, "use a model that TensorFlow Lite "+version+" reads"
	if text == "" {
		text = "not a model that this library reads"
	}
	switch {
	case strings.Contains(text, "unresolved custom op"), strings.Contains(text, "Select TensorFlow op"):
		next = "export the model with built-in operators only"
	case strings.Contains(text, "Didn't find op for builtin opcode"), strings.Contains(text, "schema version"):
		next = "export the model with an older converter, or use a newer TensorFlow Lite"
	}
	return inference.Refuse(code, next, "TensorFlow Lite: %s", plain(text))
}
