package inference

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

func port(dims ...int64) Port { return Port{Name: "x", DType: "float32", Dims: dims} }

// TestFit: what differs from the manifest is refused, whatever the format is.
func TestFit(t *testing.T) {
	s := &Spec{Labels: []string{"a", "b", "c"}, Input: Input{Width: 6, Height: 4, Layout: "NCHW", DType: Float32}, Output: Output{Kind: "logits"}}
	good, out := port(1, 3, 4, 6), port(1, 3)
	typed := func(p Port, dtype string) Port {
		p.DType = dtype
		return p
	}
	for name, c := range map[string]struct {
		ins, outs []Port
		code      string
	}{
		"good":           {[]Port{good}, []Port{out}, ""},
		"open batch":     {[]Port{port(-1, 3, 4, 6)}, []Port{port(-1, 3)}, ""},
		"flat":           {[]Port{good}, []Port{port(3)}, ""},
		"none":           {nil, []Port{out}, CodeContract},
		"two inputs":     {[]Port{good, good}, []Port{out}, CodeContract},
		"type":           {[]Port{typed(good, "uint8")}, []Port{out}, CodeContract},
		"layout":         {[]Port{port(1, 4, 6, 3)}, []Port{out}, CodeContract},
		"open width":     {[]Port{port(1, 3, 4, -1)}, []Port{out}, CodeContract},
		"batch of two":   {[]Port{port(2, 3, 4, 6)}, []Port{out}, CodeContract},
		"no shape":       {[]Port{{Name: "x", DType: "float32", Free: true}}, []Port{out}, CodeContract},
		"no output":      {[]Port{good}, nil, CodeContract},
		"two outputs":    {[]Port{good}, []Port{out, out}, CodeContract},
		"output type":    {[]Port{good}, []Port{typed(out, "int64")}, CodeContract},
		"two open sides": {[]Port{good}, []Port{port(-1, -1, -1)}, CodeContract},
		"nothing in it":  {[]Port{good}, []Port{port(1, 0)}, CodeContract},
		"below nothing":  {[]Port{good}, []Port{port(1, -7)}, CodeContract},
		"endless":        {[]Port{good}, []Port{port(1<<40, 1<<40)}, CodeContract},
		"endless in all": {[]Port{good}, []Port{port(1<<30, 1<<30, 1<<30)}, CodeContract},
		"seven classes":  {[]Port{good}, []Port{port(1, 7)}, CodeLabels},
		"three pictures": {[]Port{good}, []Port{port(3, 1)}, CodeLabels},
		"open, no share": {[]Port{good}, []Port{port(1, 2, -1)}, CodeLabels},
	} {
		t.Run(name, func(t *testing.T) {
			open, err := FitInput(s, c.ins)
			if err == nil && open != (c.ins[0].Dims[0] == -1) {
				t.Error("open batch", open)
			}
			i := 0
			if err == nil {
				i, err = PickOutput(s, c.outs)
			}
			if err == nil {
				_, err = FitOutput(s, &c.outs[i])
			}
			if r := (*Refusal)(nil); c.code == "" && err != nil || c.code != "" && (!errors.As(err, &r) || r.Code != c.code || r.NextStep == "") {
				t.Errorf("%v; want %q", err, c.code)
			}
		})
	}
}

func TestFitOutputFillsIn(t *testing.T) {
	s := &Spec{Labels: []string{"a", "b", "c"}}
	for _, c := range []struct {
		p     Port
		want  string
		fixed bool
	}{
		{port(1, 3), "[1 3]", true}, {port(3), "[3]", true}, {port(1, 1, 1, 3), "[1 1 1 3]", true}, {port(1, 3, 1, 1), "[1 3 1 1]", true},
		{port(-1, 3), "[1 3]", false}, {port(1, -1), "[1 3]", false}, {port(-1, -1), "[1 3]", false}, {Port{Name: "x", DType: "float32", Free: true}, "[1 3]", false},
	} {
		got, err := FitOutput(s, &c.p)
		if err != nil || fmt.Sprint(got) != c.want || (c.p.Fixed() == nil) != c.fixed {
			t.Errorf("%+v: %v, %v, %v; want %s", c.p, got, err, c.p.Fixed(), c.want)
		}
	}
}

// TestPhysicalCores: two threads on one core are one; four cores of two packages may bear the same numbers.
func TestPhysicalCores(t *testing.T) {
	dir := t.TempDir()
	for cpu, at := range []struct{ pack, core string }{{"0", "0"}, {"0", "0"}, {"0", "1"}, {"1", "0"}} {
		topology := filepath.Join(dir, fmt.Sprintf("devices/system/cpu/cpu%d/topology", cpu))
		if err := errors.Join(os.MkdirAll(topology, 0o755), os.WriteFile(topology+"/core_id", []byte(at.core+"\n"), 0o644),
			os.WriteFile(topology+"/physical_package_id", []byte(at.pack+"\n"), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if n := physicalCores(dir); n != 3 {
		t.Errorf("%d cores; want 3", n)
	}
	m := Model{}
	if n := m.ThreadsOr(); n < 1 || n > mostThreads {
		t.Errorf("%d threads", n)
	}
	if m.Threads = 7; m.ThreadsOr() != 7 {
		t.Error("the configuration's word does not count")
	}
}
