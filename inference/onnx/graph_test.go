package onnx

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"heron/inference"
	"heron/inference/enginetest"
)

func spec(layout string, in, out inference.DType) *inference.Spec {
	s := &inference.Spec{Labels: []string{"ok", "scratched", "empty"}, Input: inference.Input{Width: 6, Height: 4, Layout: layout, DType: in},
		Output: inference.Output{Kind: "probabilities", DType: out}}
	if out != inference.Float32 {
		s.Output.Quant = &inference.Quant{Scale: .01}
	}
	if in == inference.Int8 {
		s.Input.Quant = &inference.Quant{Scale: 1, ZeroPoint: -128}
	}
	return s
}

func TestReadONNX(t *testing.T) {
	s := spec("NCHW", inference.Float32, inference.Float32)
	g, err := inference.ReadONNX(classifier(s, -1))
	if err != nil {
		t.Fatal(err)
	}
	if len(g.Inputs) != 1 || g.Inputs[0].Name != "input" || g.Inputs[0].Shape() != "[? 3 4 6]" || g.Outputs[0].Shape() != "[? 3]" {
		t.Errorf("read %+v", g)
	}
	b, err := bind(g, s)
	if err != nil {
		t.Fatal(err)
	}
	if b.input != "input" || b.output != "scores" || b.outShape[0] != 1 || b.outShape[1] != 3 {
		t.Errorf("bound %+v", b)
	}
}

// external is a tensor whose data lies in another file.
func external(num int) []byte {
	return message(num, number(1, 3), number(2, typeFloat), text(8, "w"), message(13, text(1, "location"), text(2, "../../etc/passwd")), number(14, 1))
}

// TestWalkFindsHiddenTensors: wherever ONNX lets a tensor be, it is found.
func TestWalkFindsHiddenTensors(t *testing.T) {
	in, out := valueInfo(11, "x", typeFloat, 1), valueInfo(12, "y", typeFloat, 1)
	sub := func(inner ...[]byte) []byte {
		return node("If", "c", "", "y", message(5, text(1, "then_branch"), message(6, inner...)))
	}
	deep := external(5)
	for range 20 {
		deep = sub(deep)
	}
	for name, b := range map[string][]byte{
		"initializer":             file(external(5), in, out),
		"only the mark":           file(message(5, number(1, 0), number(14, 1)), in, out),
		"only the place":          file(message(5, number(1, 0), message(13, text(1, "location"))), in, out),
		"sparse values":           file(message(15, external(1)), in, out),
		"sparse indices":          file(message(15, external(2)), in, out),
		"attribute":               file(node("Constant", "a", "", "b", message(5, text(1, "value"), external(5))), in, out),
		"list of tensors":         file(node("Op", "a", "", "b", message(5, external(10))), in, out),
		"sparse attribute":        file(node("Op", "a", "", "b", message(5, message(22, external(1)))), in, out),
		"sparse attributes":       file(node("Op", "a", "", "b", message(5, message(23, external(2)))), in, out),
		"subgraph":                file(sub(external(5)), in, out),
		"list of subgraphs":       file(node("Op", "a", "", "b", message(5, message(11, external(5)))), in, out),
		"twenty subgraphs deep":   file(deep, in, out),
		"function":                append(file(in, out), message(25, message(7, text(4, "Constant"), message(5, external(5))))...),
		"training initialization": append(file(in, out), message(20, message(1, external(5)))...),
		"second graph":            append(file(in, out), message(7, external(5))...),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := inference.ReadONNX(b)
			enginetest.CheckRefusal(t, err, inference.CodeExternalData)
		})
	}
}

func TestWalkRefuses(t *testing.T) {
	in, out := valueInfo(11, "x", typeFloat, 1), valueInfo(12, "y", typeFloat, 1)
	huge := [][]byte{number(2, typeFloat), number(1, 1<<32), number(1, 4), message(9, make([]byte, 60))}
	packed := message(5, message(1, binary.AppendUvarint(binary.AppendUvarint(nil, 1<<40), 1<<40)))
	deep := in
	for range 34 {
		deep = node("If", "c", "", "y", message(5, message(6, deep)))
	}
	whole := file(in, out)
	for _, c := range []struct {
		name, code string
		b          []byte
	}{
		{"empty", inference.CodeFormat, nil},
		{"no graph", inference.CodeFormat, number(1, 7)},
		{"html", inference.CodeFormat, []byte("<html>try later</html>")},
		{"cut short", inference.CodeFormat, whole[:len(whole)-3]},
		{"a group", inference.CodeFormat, append(tag(7, 3), tag(7, 4)...)},
		{"graph is a number", inference.CodeFormat, number(7, 1)},
		{"endless varint", inference.CodeFormat, bytes.Repeat([]byte{0x80}, 11)},
		{"dimensions lie", inference.CodeBudget, file(message(5, huge...), in, out)},
		{"packed dimensions lie", inference.CodeBudget, file(packed, in, out)},
		{"negative dimension", inference.CodeBudget, file(message(5, number(1, math.MaxUint64)), in, out)},
		{"too deep", inference.CodeFormat, file(deep)},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := inference.ReadONNX(c.b)
			enginetest.CheckRefusal(t, err, c.code)
		})
	}
}

// TestBindRefuses: the manifest and the file must agree.
func TestBindRefuses(t *testing.T) {
	in, out := valueInfo(11, "input", typeFloat, 1, 3, 4, 6), valueInfo(12, "scores", typeFloat, 1, 3)
	for _, c := range []struct {
		name   string
		graph  []byte
		change func(*inference.Spec)
		code   string
		want   string
	}{
		{"no input", file(out), nil, inference.CodeContract, "0 inputs"},
		{"two inputs", file(in, valueInfo(11, "mask", typeFloat, 1), out), nil, inference.CodeContract, `2 inputs ("input", "mask")`},
		{"another name", file(in, out), func(s *inference.Spec) { s.Input.Name = "data" }, inference.CodeContract, `called "input"; the manifest says "data"`},
		{"another type", file(in, out), func(s *inference.Spec) { s.Input.DType = inference.Uint8 }, inference.CodeContract, "is float32; the manifest says uint8"},
		{"float16", file(valueInfo(11, "input", 10, 1, 3, 4, 6), out), nil, inference.CodeContract, "is float16"},
		{"another layout", file(in, out), func(s *inference.Spec) { s.Input.Layout = "NHWC" }, inference.CodeContract, "shape [1 3 4 6]; the manifest says [1 4 6 3] (NHWC)"},
		{"dynamic sides", file(valueInfo(11, "input", typeFloat, -1, 3, -1, -1), out), nil, inference.CodeContract, "export the model with a fixed width and height"},
		{"batch of two", file(valueInfo(11, "input", typeFloat, 2, 3, 4, 6), out), nil, inference.CodeContract, "[2 3 4 6]"},
		{"no output", file(in), nil, inference.CodeContract, "no output"},
		{"two outputs", file(in, out, valueInfo(12, "more", typeFloat, 1)), nil, inference.CodeContract, "output.name"},
		{"no such output", file(in, out), func(s *inference.Spec) { s.Output.Name = "p" }, inference.CodeContract, `no output "p"; it has "scores"`},
		{"int64 output", file(in, valueInfo(12, "scores", 7, 1, 3)), nil, inference.CodeContract, "is int64"},
		{"more classes", file(in, valueInfo(12, "scores", typeFloat, 1, 7)), nil, inference.CodeLabels, "7 values; the label file has 3 labels"},
		{"classes in the batch", file(in, valueInfo(12, "scores", typeFloat, 3, 1)), nil, inference.CodeLabels, "[3 1]"},
		{"two open sides", file(in, valueInfo(12, "scores", typeFloat, -1, -1, -1)), nil, inference.CodeContract, "fixed output"},
		{"a side beyond all", file(in, valueInfo(12, "scores", typeFloat, 1, 1<<40)), nil, inference.CodeContract, "1099511627776"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := spec("NCHW", inference.Float32, inference.Float32)
			if c.change != nil {
				c.change(s)
			}
			g, err := inference.ReadONNX(c.graph)
			if err != nil {
				t.Fatal(err)
			}
			_, err = bind(g, s)
			enginetest.CheckRefusal(t, err, c.code)
			if err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("says %q; want %q", err, c.want)
			}
		})
	}
}

// TestInitializersAreNoInputs: before IR version 4 every weight was an input too.
func TestInitializersAreNoInputs(t *testing.T) {
	g, err := inference.ReadONNX(file(valueInfo(11, "w", typeFloat, 1), valueInfo(11, "input", typeFloat, 1), valueInfo(12, "y", typeFloat, 1), floats(5, "w", []uint64{1}, 1)))
	if err != nil || len(g.Inputs) != 1 || g.Inputs[0].Name != "input" {
		t.Errorf("%+v, %v", g, err)
	}
}

func TestLibraries(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "lib"), 0o755), os.WriteFile(filepath.Join(dir, "lib", "libonnxruntime.so.1.24.3"), nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	none := func(string) string { return "" }
	if got := libraries(none, filepath.Join(dir, "heron-vision")); len(got) != 3 || got[0] != filepath.Join(dir, "lib", "libonnxruntime.so.1.24.3") {
		t.Error(got)
	}
	set := func(string) string { return "/opt/ort.so" }
	if got := libraries(set, filepath.Join(dir, "heron-vision")); len(got) != 1 || got[0] != "/opt/ort.so" {
		t.Error(got)
	}
	if got := missing(set, nil); got != "ONNX Runtime is not at /opt/ort.so, where "+libraryEnv+" says it is" {
		t.Error(got)
	}
	if got := missing(none, []string{"a", "b"}); got != "ONNX Runtime was not found (tried a, b)" {
		t.Error(got)
	}
}

func TestPlainWords(t *testing.T) {
	for in, want := range map[string]string{
		"Error creating C session: std::bad_alloc": "std::bad_alloc",
		"Error creating C session: /onnxruntime_src/onnxruntime/core/graph/model.cc:181 onnxruntime::Model::Model(onnx::ModelProto&&, const f(int)&) Unsupported model IR version: 99": "Unsupported model IR version: 99",
		"two\nlines\tand \x1b[0m": "two lines and ?[0m",
	} {
		if got := plain(in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
	if got := plain(strings.Repeat("ä", 400)); len(got) > 303 || !strings.HasSuffix(got, "ä…") {
		t.Errorf("%d bytes: %q", len(got), got)
	}
}

// FuzzReadONNX: never a panic, and what is refused is refused in one line.
func FuzzReadONNX(f *testing.F) {
	f.Add(classifier(spec("NCHW", inference.Float32, inference.Float32), 1))
	f.Add(file(external(5)))
	f.Add(file(node("If", "c", "", "y", message(5, text(1, "then_branch"), message(6, external(5)))), message(15, external(1))))
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := inference.ReadONNX(b)
		if err != nil {
			if !bytes.ContainsAny([]byte(err.Error()), "\n") {
				return
			}
			t.Errorf("error of more than one line: %q", err)
		}
		if bound, err := bind(g, spec("NCHW", inference.Float32, inference.Float32)); err == nil && (bound.inShape[0] != 1 || len(bound.outShape) == 0) {
			t.Errorf("bound %+v", bound)
		}
	})
}
