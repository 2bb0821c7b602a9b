package inference

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// ParseManifest reads a manifest strictly and validates it: unknown, repeated or wrongly written fields are errors,
// as is anything behind the closing brace. Errors name the field, the bad value and what is allowed.
func ParseManifest(b []byte) (*Manifest, error) {
	var m Manifest
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		return nil, manifestError(b, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("manifest.json: line %d: something follows the closing brace", lineOf(b, d.InputOffset()))
	}
	if err := checkKeys(b); err != nil {
		return nil, err
	}
	if err := m.Validate(); err != nil {
		return nil, err
	}
	return &m, nil
}

// manifestError says in the contract's words what encoding/json says in Go's.
func manifestError(b []byte, err error) error {
	var bad *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &bad):
		where := bad.Field
		if where == "" {
			where = "the document"
		}
		return fmt.Errorf("manifest.json: line %d: %s: found %s, expected %s", lineOf(b, bad.Offset), where, bad.Value, jsonKind(bad.Type.Kind().String()))
	case errors.As(err, &syntax):
		return fmt.Errorf("manifest.json: line %d: not JSON: %w", lineOf(b, syntax.Offset), err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("manifest.json: ends before the closing brace")
	}
	return fmt.Errorf("manifest.json: %s", strings.TrimPrefix(err.Error(), "json: "))
}

func jsonKind(kind string) string {
	switch kind {
	case "string":
		return "a string"
	case "slice":
		return "a list"
	case "struct", "map", "ptr":
		return "an object"
	case "int", "int64":
		return "a whole number"
	}
	return "a number"
}

func lineOf(b []byte, offset int64) int {
	return 1 + bytes.Count(b[:min(max(offset, 0), int64(len(b)))], []byte{'\n'})
}

// checkKeys closes two holes that encoding/json leaves: it takes "Width" for "width", and the last of two equal keys.
func checkKeys(b []byte) error {
	return (&keyWalk{json.NewDecoder(bytes.NewReader(b)), b}).value("")
}

type keyWalk struct {
	*json.Decoder
	text []byte
}

func (w *keyWalk) value(path string) error {
	t, err := w.Token()
	if err != nil {
		return manifestError(w.text, err)
	}
	switch t {
	case json.Delim('{'):
		err = w.object(path)
	case json.Delim('['):
		for w.More() && err == nil {
			err = w.value(path)
		}
	default:
		return nil
	}
	if err == nil {
		_, err = w.Token() // the closing bracket
	}
	return err
}

func (w *keyWalk) object(path string) error {
	seen := map[string]bool{}
	for w.More() {
		t, err := w.Token()
		if err != nil {
			return manifestError(w.text, err)
		}
		key, _ := t.(string)
		full := strings.TrimPrefix(path+"."+key, ".")
		if seen[key] {
			return fmt.Errorf("manifest.json: line %d: %s appears twice", lineOf(w.text, w.InputOffset()), full)
		}
		seen[key] = true
		if path != "thresholds.per_label" && key != strings.ToLower(key) {
			return fmt.Errorf("manifest.json: line %d: unknown field %q; did you mean %q?", lineOf(w.text, w.InputOffset()), full, strings.ToLower(key))
		}
		if err := w.value(full); err != nil {
			return err
		}
	}
	return nil
}
