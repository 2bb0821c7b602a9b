package vision

import (
	"errors"
	"strings"
	"testing"
)

func TestPaceMessageIsChecked(t *testing.T) {
	long := strings.Repeat("x", maxName+1)
	many := strings.Builder{}
	for i := range maxList + 1 {
		many.WriteString(`,"` + strings.Repeat("a", i) + `":1`)
	}
	for want, body := range map[string]string{
		"pace -1":               `{"fps":{"a":-1}}`,
		"pace 1001":             `{"fps":{"a":1001}}`,
		`camera "xxx`:           `{"fps":{"` + long + `":1}}`,
		`camera "a\n"`:          `{"fps":{"a\n":1}}`,
		"the limit is 256":      `{"fps":{` + many.String()[1:] + `}}`,
		"1e999":                 `{"fps":{"a":1e999}}`,
		"not what it should be": `{"fps":7}`,
		"message is not":        `{`,
	} {
		s := &server{cameras: map[string]*cam{}}
		err := s.takePace([]byte(body))
		var bad *protocolError
		if !errors.As(err, &bad) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: %v, want %q", body, err, want)
		}
	}
	if err := (&server{}).takePace([]byte(`{"fps":{"unknown":3,"b":0}}`)); err != nil {
		t.Errorf("a good one: %v", err)
	}
	if kindPace.limit() != maxJSON {
		t.Errorf("limit %d", kindPace.limit())
	}
}

func FuzzPace(f *testing.F) {
	for _, s := range []string{`{"fps":{"front":5}}`, `{}`, `{"fps":{"a":1e999}}`, `null`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var p pacing
		if unmarshal(b, &p) != nil || p.check() != nil {
			return
		}
		for name, fps := range p.FPS {
			if !okName(name) || !(fps >= 0 && fps <= maxFPS) {
				t.Fatalf("%q: %v", name, fps)
			}
		}
	})
}
