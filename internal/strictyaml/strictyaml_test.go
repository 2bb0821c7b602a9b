package strictyaml

import (
	"errors"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

type camera struct {
	Name   string `yaml:"name"`
	Source string `yaml:"source"`
	Nested struct {
		A int `yaml:"a"`
	} `yaml:"nested"`
}

type config struct {
	Cameras []camera          `yaml:"cameras"`
	Labels  map[string]string `yaml:"labels"`
}

// The library's own order changes from call to call: each case is asked often enough to see it.
func TestTheFirstUnknownKeyIsTold(t *testing.T) {
	for _, c := range []struct{ src, want string }{
		{"cameras: [{name: front, sorce: x, password: y}]\n", `[1:25] unknown field "sorce"`},
		{"cameras:\n  - name: front\n    sorce: x\n    password: y\n    url: z\n", `[3:5] unknown field "sorce"`},
		{"cameras:\n  - url: z\nlable: {}\nlabels: {any: thing}\n", `[2:5] unknown field "url"`},
		{"zz: 1\ncameras:\n  - url: z\n    nested: {b: 1}\n", `[1:1] unknown field "zz"`},
		{"cameras:\n  - {nested: {a: 1, b: 2, c: 3}, d: 4}\n", `[2:21] unknown field "b"`},
		{"only: 1\n", `[1:1] unknown field "only"`},
		{"a: &x {name: q}\ncameras: [*x, {c: 1, b: 1}]\n", `[1:1] unknown field "a"`},
		{`{"cameras": [{"name": "front", "y": 1, "x": 2}]}`, `[1:32] unknown field "y"`},
	} {
		for range 50 {
			err := Unmarshal([]byte(c.src), &config{})
			var unknown *yaml.UnknownFieldError
			if !errors.As(err, &unknown) {
				t.Fatalf("%q: %v", c.src, err)
			}
			if head, _, _ := strings.Cut(yaml.FormatError(err, false, false), "\n"); head != c.want {
				t.Fatalf("%q:\n%s, want\n%s", c.src, head, c.want)
			}
		}
	}
}

func TestWhatIsKnownIsRead(t *testing.T) {
	var c config
	if err := Unmarshal([]byte("cameras: [{name: front, nested: {a: 3}}]\nlabels: {x: y}\n"), &c); err != nil || c.Cameras[0].Nested.A != 3 || c.Labels["x"] != "y" {
		t.Errorf("%+v, %v", c, err)
	}
	for _, src := range []string{"cameras: 3\n", "cameras: [\n", "cameras: [{name: {a: 1}}]\n"} {
		var unknown *yaml.UnknownFieldError
		if err := Unmarshal([]byte(src), &config{}); err == nil || errors.As(err, &unknown) {
			t.Errorf("%q: %v", src, err)
		}
	}
}

func FuzzUnmarshal(f *testing.F) {
	f.Add("cameras: [{name: front, sorce: x, password: y}]\n")
	f.Add("zz: 1\ncameras:\n  - url: z\n    <<: {b: 1}\n")
	f.Fuzz(func(t *testing.T, src string) {
		_ = Unmarshal([]byte(src), &config{})
	})
}
