package tflite

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"heron/inference"
	"heron/inference/enginetest"
)

func TestReadModel(t *testing.T) {
	s := spec(inference.Uint8, inference.Uint8)
	m, err := inference.ReadTFLite(classifier(s))
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Inputs) != 1 || m.Inputs[0].Name != "input" || len(m.Outputs) != 1 || m.Outputs[0].Name != "scores" || m.Compiled() {
		t.Errorf("read %+v", m)
	}
	if q := m.Outputs[0].Quant; q == nil || q.Scale != 1.0/256 || q.ZeroPoint != 0 {
		t.Errorf("quantisation %+v", q)
	}
	if out, err := bind(m, s); err != nil || out != 0 {
		t.Errorf("bound to %d, %v", out, err)
	}
	if m, err = inference.ReadTFLite(compiled(s)); err != nil || !m.Compiled() {
		t.Errorf("%+v, %v", m, err)
	}
}

// TestBind: each way in which a file and its manifest differ.
func TestBind(t *testing.T) {
	huge := spec(inference.Uint8, inference.Uint8)
	huge.Input.Width, huge.Input.Height = 1<<20, 1<<20
	for _, c := range []struct {
		name   string
		change func(*inference.Spec)
		code   string
		says   string
	}{
		{"input name", func(s *inference.Spec) { s.Input.Name = "data" }, inference.CodeContract, `called "input"; the manifest says "data"`},
		{"input type", func(s *inference.Spec) { s.Input.DType = inference.Float32 }, inference.CodeContract, "is uint8; the manifest says float32"},
		{"width", func(s *inference.Spec) { s.Input.Width = 7 }, inference.CodeContract, "[1 4 6 3]; the manifest says [1 4 7 3]"},
		{"layout", func(s *inference.Spec) { s.Input.Layout = "NCHW" }, inference.CodeContract, "(NCHW)"},
		{"input scale", func(s *inference.Spec) { s.Input.Quant.Scale = 1.0 / 128 }, inference.CodeContract, `write input.quant {"scale":0.003921569,"zero_point":0}`},
		{"output name", func(s *inference.Spec) { s.Output.Name = "p" }, inference.CodeContract, `no output "p"; it has "scores"`},
		{"output type", func(s *inference.Spec) { s.Output.DType = inference.Int8 }, inference.CodeContract, "is uint8; the manifest says int8"},
		{"output zero point", func(s *inference.Spec) { s.Output.Quant.ZeroPoint = 128 }, inference.CodeContract, "zero point 0; the manifest says 0.00390625 and 128"},
		{"no output quant", func(s *inference.Spec) { s.Output.Quant = nil }, inference.CodeContract, `write output.quant {"scale":0.00390625,"zero_point":0}`},
		{"labels", func(s *inference.Spec) { s.Labels = append(s.Labels, "more") }, inference.CodeLabels, "3 values; the label file has 4 labels"},
		{"rounded scale", func(s *inference.Spec) { s.Output.Quant.Scale = 0.00391 }, "", ""},
		{"raw pixels", func(s *inference.Spec) { s.Input.Quant, s.Input.Std = nil, nil }, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := spec(inference.Uint8, inference.Uint8)
			m, err := inference.ReadTFLite(classifier(s))
			if err != nil {
				t.Fatal(err)
			}
			c.change(s)
			_, err = bind(m, s)
			if c.code == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			enginetest.CheckRefusal(t, err, c.code)
			if err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("says %q; want %q", err, c.says)
			}
		})
	}
	_, err := inference.ReadTFLite(classifier(huge))
	enginetest.CheckRefusal(t, err, inference.CodeBudget)
}

// An open width is written as 1 in the shape and as −1 in the signature beside it; an open batch is 1 to Heron, too.
func TestOpenDimensionsOfTheInput(t *testing.T) {
	for _, c := range []struct {
		shape, signature []int32
		says             string
	}{
		{[]int32{1, 1, 1, 3}, []int32{1, -1, -1, 3}, "has the shape [1 ? ? 3]"},
		{[]int32{1, 4, 1, 3}, []int32{-1, 4, -1, 3}, "has the shape [1 4 ? 3]"},
		{[]int32{1, 4, 6, 3}, []int32{-1, 4, 6, 3}, ""},
		{[]int32{1, 4, 6, 3}, []int32{1, 4, 6, 3}, ""},
		{[]int32{1, 4, 6, 3}, nil, ""},
	} {
		g := &graph{}
		f := fields{0: array(c.shape...), 1: kinds[inference.Float32], 3: str("input")}
		if c.signature != nil {
			f[7] = array(c.signature...)
		}
		g.tensors = []child{table(f), table(fields{0: array[int32](1, 3), 1: kinds[inference.Float32], 3: str("scores")})}
		g.op(builtin(25, 1), []int32{0}, []int32{1}, 9, fields{0: float32(1)})
		g.in, g.out = []int32{0}, []int32{1}
		b := g.file()
		_, err := inference.Describe(b, "")
		s := spec(inference.Float32, inference.Float32)
		s.Input.Height, s.Input.Width = int(c.shape[1]), int(c.shape[2])
		m, readErr := inference.ReadTFLite(b)
		if readErr != nil {
			t.Fatal(readErr)
		}
		_, bindErr := bind(m, s)
		for what, err := range map[string]error{"describe": err, "bind": bindErr} {
			switch {
			case c.says == "" && err != nil:
				t.Errorf("%s, %v: %v", what, c.signature, err)
			case c.says != "":
				enginetest.CheckRefusal(t, err, inference.CodeContract)
				if err != nil && (!strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "a fixed width and height")) {
					t.Errorf("%s, %v: %q; want %q", what, c.signature, err, c.says)
				}
			}
		}
	}
}

// TestEveryCutIsRefused: no prefix of a model is read as one, and no flipped byte leads the reader out of the file.
func TestEveryCutIsRefused(t *testing.T) {
	s := spec(inference.Uint8, inference.Uint8)
	b := classifier(s)
	for n := range len(b) {
		m, err := inference.ReadTFLite(b[:n])
		if err == nil {
			if _, err = bind(m, s); err == nil && n < len(b)-8 { // the end of the last string is read by nobody
				t.Fatalf("the first %d of %d bytes pass", n, len(b))
			}
		}
	}
	for i := range b {
		for _, flip := range []byte{1, 0x80, 0xff} {
			b[i] ^= flip
			if m, err := inference.ReadTFLite(b); err == nil {
				_, _ = bind(m, s) // must come back
			}
			b[i] ^= flip
		}
	}
}

func FuzzReadModel(f *testing.F) {
	s := spec(inference.Uint8, inference.Uint8)
	f.Add(classifier(s))
	f.Add(compiled(s))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := inference.ReadTFLite(b)
		if err == nil {
			_, _ = bind(m, s)
		}
	})
}

func TestRealFiles(t *testing.T) {
	dir := filepath.Join(enginetest.Testdata(t), "models")
	for name, compiledForIt := range map[string]bool{"mobilenet_v1_0.25_128_quant.tflite": false, "mobilenet_v1_0.25_128_quant_edgetpu.tflite": true} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Skip(err)
		}
		m, err := inference.ReadTFLite(b)
		if err != nil || m.Compiled() != compiledForIt || len(m.Outputs) != 1 || m.Outputs[0].Shape[len(m.Outputs[0].Shape)-1] != 1001 {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
	}
}
