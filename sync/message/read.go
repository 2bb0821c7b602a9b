package message

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"heron/internal/daily"
	"heron/internal/jsonshape"
)

// Bounds of the documents.
const (
	MaxDocument = 128 << 10 // bytes
	maxDepth    = 32
	maxValues   = 8192 // each costs a decoder far more than its two bytes
	maxModels   = 16
	maxLabels   = 32
	maxText     = 256
	maxRev      = 1 << 53 // beyond it, JSON readers elsewhere lose digits
)

// Duration is written as Go writes it: 10m, 1h30m.
type Duration time.Duration

// MarshalText writes 10m rather than 10m0s.
func (d Duration) MarshalText() ([]byte, error) {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return []byte(s), nil
}

// UnmarshalJSON reads 10m; the error is of the kind to which the decoder adds the path.
func (d *Duration) UnmarshalJSON(b []byte) error {
	var s string
	if json.Unmarshal(b, &s) == nil {
		if v, err := time.ParseDuration(s); err == nil && v >= 0 {
			*d = Duration(v)
			return nil
		}
	}
	return &json.UnmarshalTypeError{Value: short(b), Type: durationType}
}

// ParseDesired reads a desired document strictly: bounded in size and depth, each field that it names of the right kind and within
// its bounds, the error with the path to the first that is not. Fields it does not know are ignored.
func ParseDesired(b []byte) (Desired, error) {
	var d Desired
	if err := decode(b, &d); err != nil {
		return Desired{}, err
	}
	return d, d.Validate()
}

// ParseReported reads a reported document.
func ParseReported(b []byte) (Reported, error) {
	var r Reported
	if err := decode(b, &r); err != nil {
		return Reported{}, err
	}
	return r, version(r.V)
}

// ParseCommand reads a command as strictly as ParseDesired reads its document.
func ParseCommand(b []byte) (Command, error) {
	var c Command
	if err := decode(b, &c); err != nil {
		return Command{}, err
	}
	return c, c.Validate()
}

// ParseAnswer reads an answer.
func ParseAnswer(b []byte) (Answer, error) {
	var a Answer
	if err := decode(b, &a); err != nil {
		return Answer{}, err
	}
	return a, version(a.V)
}

// Validate names the first field that cannot be.
func (d Desired) Validate() error {
	if err := version(d.V); err != nil {
		return err
	}
	if err := revision("rev", d.Rev); err != nil {
		return err
	}
	if len(d.Models) > maxModels {
		return fmt.Errorf("models: %d of them; at most %d", len(d.Models), maxModels)
	}
	if len(d.IssuedBy) > maxText {
		return fmt.Errorf("issued_by: longer than %d bytes", maxText)
	}
	seen := map[string]bool{}
	for i, m := range d.Models {
		if err := m.validate(); err != nil {
			return fmt.Errorf("models[%d].%w", i, err)
		}
		if seen[m.Slot] {
			return fmt.Errorf("models[%d].slot: %q is there twice", i, m.Slot)
		}
		seen[m.Slot] = true
	}
	if c := d.Config; c != nil {
		if err := revision("config.rev", c.Rev); err != nil {
			return err
		}
		if !isObject(c.Patch) {
			return errors.New("config.patch: not an object")
		}
	}
	if d.Firmware != nil && !IsTarget(d.Firmware.Target) {
		return fmt.Errorf("firmware.target: %q names no entry of a repository, such as heron/1.3.0", clip(d.Firmware.Target))
	}
	return nil
}

func (m DesiredModel) validate() error {
	switch {
	case !IsSlot(m.Slot):
		return fmt.Errorf("slot: %q; use a-z, 0-9, _ and -, at most 64 of them", clip(m.Slot))
	case !IsTarget(m.Target):
		return fmt.Errorf("target: %q names no entry of a repository, such as bottles/1.4.2", clip(m.Target))
	case m.Shadow != nil && *m.Shadow > Duration(30*24*time.Hour):
		return errors.New("shadow: longer than 30 days")
	case m.Probation != nil && *m.Probation > Duration(30*24*time.Hour):
		return errors.New("probation: longer than 30 days")
	case m.Rollout == nil:
		return nil
	}
	return m.Rollout.Validate()
}

// Validate names the first field that cannot be.
func (r Rollout) Validate() error {
	if p := r.Percent; p != nil && !(*p >= 0 && *p <= 100) {
		return fmt.Errorf("rollout.percent: %v is not within 0 and 100", *p)
	}
	if len(r.Salt) > maxText {
		return fmt.Errorf("rollout.salt: longer than %d bytes", maxText)
	}
	if r.Window != "" {
		if _, err := daily.ParseWindow(r.Window); err != nil {
			return fmt.Errorf("rollout.window: %w", err)
		}
	}
	if len(r.Labels) > maxLabels {
		return fmt.Errorf("rollout.labels: %d of them; at most %d", len(r.Labels), maxLabels)
	}
	for _, key := range slices.Sorted(maps.Keys(r.Labels)) {
		glob := r.Labels[key]
		if _, err := path.Match(glob, ""); err != nil || len(glob) > maxText || len(key) > maxText {
			return fmt.Errorf("rollout.labels.%s: %q is not a pattern such as lyon-*", clip(key), clip(glob))
		}
	}
	return nil
}

// Validate names the first field that cannot be.
func (c Command) Validate() error {
	if err := version(c.V); err != nil {
		return err
	}
	switch {
	case !IsSlot(strings.ToLower(c.ID)):
		return fmt.Errorf("id: %q; use letters, digits, _ and -, at most 64 of them", clip(c.ID))
	case c.ExpiresAt.IsZero():
		return errors.New("expires_at: missing; a command without an end could be done long after it was wanted")
	case len(c.IssuedBy) > maxText:
		return fmt.Errorf("issued_by: longer than %d bytes", maxText)
	case len(c.Args) > 0 && !isObject(c.Args) && string(c.Args) != "null":
		return errors.New("args: not an object")
	}
	return nil
}

// IsSlot says whether s can name a slot, which is a level of topics and folders, too.
func IsSlot(s string) bool {
	return s != "" && len(s) <= 64 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789_-") == ""
}

// IsTarget says whether s can name an entry of a repository: levels of letters, digits and ._+- between slashes, none of them
// beginning with a dot.
func IsTarget(s string) bool {
	if s == "" || len(s) > maxText {
		return false
	}
	for level := range strings.SplitSeq(s, "/") {
		if level == "" || level[0] == '.' || strings.Trim(level, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+-") != "" {
			return false
		}
	}
	return true
}

// TooLong begins what the uplink puts in the place of a document that it has read past.
const TooLong = "too long: "

// decode bounds first what the decoder would have to hold.
func decode(b []byte, v any) error {
	if len(b) > MaxDocument {
		return fmt.Errorf("%d bytes; at most %d", len(b), MaxDocument)
	}
	if !utf8.Valid(b) {
		return errors.New("not UTF-8")
	}
	switch depth, values := jsonshape.Of(b); {
	case depth > maxDepth:
		return fmt.Errorf("nested deeper than %d", maxDepth)
	case values > maxValues:
		return fmt.Errorf("more than %d values", maxValues)
	}
	if bytes.HasPrefix(b, []byte(TooLong)) {
		return errors.New(clip(string(b)))
	}
	if !isObject(b) {
		return fmt.Errorf("not a JSON object: %q", clip(string(b)))
	}
	err := json.Unmarshal(b, v)
	if kind, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("%s: %s where %s belongs", kind.Field, kind.Value, words(kind))
	}
	if when, ok := errors.AsType[*time.ParseError](err); ok {
		return fmt.Errorf("%s is not a time such as 2026-11-20T13:00:00Z", clip(when.Value))
	}
	if err != nil && strings.HasPrefix(err.Error(), "Time.UnmarshalJSON") {
		return errors.New("a time is not a string such as 2026-11-20T13:00:00Z")
	}
	return err
}

func isObject(b []byte) bool {
	b = bytes.TrimLeft(b, " \t\r\n")
	return len(b) > 0 && b[0] == '{'
}

func version(v int) error {
	if v != 1 {
		return fmt.Errorf("v: %d; this is written for 1", v)
	}
	return nil
}

func revision(where string, rev int64) error {
	if rev < 1 || rev > maxRev {
		return fmt.Errorf("%s: %d is not within 1 and 2^53", where, rev)
	}
	return nil
}

func short(b []byte) string { return clip(string(b)) }

// clip keeps what a stranger wrote from filling an error.
func clip(s string) string {
	const most = 64
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

var durationType = reflect.TypeFor[Duration]()

// words says what a field holds, in JSON's terms rather than Go's.
func words(e *json.UnmarshalTypeError) string {
	if e.Type == durationType {
		return "a duration such as 10m"
	}
	switch e.Type.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Int, reflect.Int64:
		return "a whole number"
	case reflect.Float64:
		return "a number"
	case reflect.Slice:
		return "a list"
	case reflect.Bool:
		return "true or false"
	default:
		return "an object"
	}
}
