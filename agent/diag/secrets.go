package diag

import (
	"bytes"
	"encoding/json"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// hidden stands where a secret was.
const hidden = "…"

// leastSecret is the length of the shortest text that is looked for by itself: a shorter one stands in every number.
const leastSecret = 4

// Secrets takes out of a text what nobody else is to read: those that are known, wherever and however they are written, and whatever has
// the form of one. nil knows none.
type Secrets struct{ known [][]byte }

// NewSecrets knows these texts, and how they look in a URL and in JSON.
func NewSecrets(known []string) *Secrets {
	s := &Secrets{}
	for _, k := range known {
		if k = strings.TrimSpace(k); len(k) < leastSecret {
			continue
		}
		quoted, _ := json.Marshal(k) // a string can always be written
		for _, form := range []string{k, url.QueryEscape(k), url.PathEscape(k), strings.Trim(string(quoted), `"`)} {
			s.known = append(s.known, []byte(form))
		}
	}
	slices.SortFunc(s.known, func(a, b []byte) int { return len(b) - len(a) }) // one may be a part of another
	s.known = slices.CompactFunc(s.known, bytes.Equal)
	return s
}

// The forms of secrets. Names end in the word, so that password_file keeps its path.
const secretName = `[a-z0-9_.-]*(?:password|passwd|passphrase|secret|token|api[_-]?key|apikey|signature|credential|user-pw|auth|pwd|sig|key)`

var (
	inURL   = regexp.MustCompile(`(://)[^/@\s"'<>\\]+@`)
	inQuery = regexp.MustCompile(`(?i)([?&;]|\\u0026|&amp;)(` + secretName + `)=[^&;\s"'<>\\)]+`)
	inText  = regexp.MustCompile(`(?i)((?:password|passwd|passphrase|secret|token|api[_-]?key|user-pw)\\?["']?\s*[:=]\s*\\?["']?)[^\s"',;&}\\]+`)
	header  = regexp.MustCompile(`(?i)(\b(?:authorization|cookie)\\?["']?\s*[:=]\s*\\?["']?(?:basic|bearer|digest)?\s*)[^\s"',;}\\]+`)
	pem     = regexp.MustCompile(`(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----`)
)

// Hide returns b without them; b itself is left alone.
func (s *Secrets) Hide(b []byte) []byte {
	if s != nil {
		for _, k := range s.known {
			b = bytes.ReplaceAll(b, k, []byte(hidden))
		}
	}
	b = inURL.ReplaceAll(b, []byte("${1}"+hidden+"@"))
	b = inQuery.ReplaceAll(b, []byte("${1}${2}="+hidden))
	b = inText.ReplaceAll(b, []byte("${1}"+hidden))
	b = header.ReplaceAll(b, []byte("${1}"+hidden))
	return pem.ReplaceAll(b, []byte(hidden))
}

// Redact is an address, or a line that may hold one, without secrets.
func Redact(s string) string { return string((*Secrets)(nil).Hide([]byte(s))) }

// RedactAddress is the address of a camera without secrets, also where it is no URL because a character of its password was not %-encoded: whatever
// stands before the last @ goes. In a pipeline the address ends at a blank.
func RedactAddress(s string) string {
	if strings.HasPrefix(s, "gstreamer:") {
		return Redact(inPipeline.ReplaceAllString(s, "${1}"+hidden+"@"))
	}
	end := len(s)
	if _, err := url.Parse(s); err == nil {
		if i := strings.IndexAny(s, "?#"); i >= 0 {
			end = i
		}
	}
	if from, to := strings.Index(s, "://"), strings.LastIndexByte(s[:end], '@'); from >= 0 && from < to {
		s = s[:from] + "://" + hidden + s[to:]
	}
	return Redact(s)
}

// Mask is lines of a configuration with each character of a secret in an address made a star, so that what points at a column still does. Whatever
// stands before the last @ of a line goes.
func Mask(lines string) string {
	stars := func(from int) func(string) string {
		return func(s string) string { return s[:from] + strings.Repeat("*", utf8.RuneCountInString(s[from:])) }
	}
	lines = inLine.ReplaceAllStringFunc(lines, func(s string) string { return stars(len("://"))(s[:len(s)-1]) + "@" })
	return inQuery.ReplaceAllStringFunc(lines, func(s string) string { return stars(strings.IndexByte(s, '=') + 1)(s) })
}

var (
	inLine     = regexp.MustCompile(`://[^\n]+@`)
	inPipeline = regexp.MustCompile(`(://)[^\s"']+@`)
)

// OfURL are the secrets in an address: the password, and what its query carries under a name that says so; of one that cannot be read, what
// stands where a password would. Other texts have none.
func OfURL(address string) (out []string) {
	u, err := url.Parse(address)
	if err != nil {
		_, rest, _ := strings.Cut(address, "://")
		if at := strings.LastIndexByte(rest, '@'); at >= 0 {
			_, password, _ := strings.Cut(rest[:at], ":")
			return []string{password}
		}
		return nil
	}
	if p, ok := u.User.Password(); ok {
		out = append(out, p)
	}
	for name, values := range u.Query() {
		if inQuery.MatchString("?" + name + "=x") {
			out = append(out, values...)
		}
	}
	return out
}
