package openvino

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"heron/inference"
	"heron/inference/enginetest"
)

// external is a tensor whose data lies in another file.
func external(num int) []byte {
	return nested(num, varint(1, 3), varint(2, 1), text(8, "w"), nested(13, text(1, "location"), text(2, "../../etc/passwd")), varint(14, 1))
}

// lying is a tensor that declares 4 GB and carries 4 bytes.
func lying(num int) []byte {
	return nested(num, nested(1, []byte{0x80, 0x80, 0x80, 0x80, 4}), varint(2, 1), nested(9, []byte{1, 2, 3, 4}))
}

// TestTensorsAreFoundWhereverTheyAre: ONNX lets tensors be in many places.
func TestTensorsAreFoundWhereverTheyAre(t *testing.T) {
	s := spec("NCHW", inference.Float32, inference.Float32)
	for name, place := range map[string]func(func(int) []byte) []byte{
		"initializer":    func(x func(int) []byte) []byte { return nested(7, x(5)) },
		"constant":       func(x func(int) []byte) []byte { return nested(7, nested(1, nested(5, x(5)))) },
		"tensors":        func(x func(int) []byte) []byte { return nested(7, nested(1, nested(5, x(10)))) },
		"subgraph":       func(x func(int) []byte) []byte { return nested(7, nested(1, nested(5, nested(6, x(5))))) },
		"subgraphs":      func(x func(int) []byte) []byte { return nested(7, nested(1, nested(5, nested(11, x(5))))) },
		"sparse":         func(x func(int) []byte) []byte { return nested(7, nested(15, x(1))) },
		"sparse indices": func(x func(int) []byte) []byte { return nested(7, nested(1, nested(5, nested(22, x(2))))) },
		"training":       func(x func(int) []byte) []byte { return nested(20, nested(1, x(5))) },
		"function":       func(x func(int) []byte) []byte { return nested(25, nested(7, nested(5, x(5)))) },
	} {
		for code, tensor := range map[string]func(int) []byte{inference.CodeExternalData: external, inference.CodeBudget: lying} {
			t.Run(name+"/"+code, func(t *testing.T) {
				m := inference.Model{Bytes: append(place(tensor), nested(7)...), Spec: s}
				enginetest.CheckRefusal(t, checkFiles(m, devices()[0]), code)
			})
		}
	}
}

func TestCheckFiles(t *testing.T) {
	good := onnxModel("NCHW", inference.Float32, inference.Float32)
	xml, bin := ir(good.Spec)
	deep := nested(5)
	for range 120 {
		deep = nested(1, nested(5, nested(6, deep)))
	}
	for name, c := range map[string]struct {
		bytes, weights []byte
		code           string
	}{
		"onnx":            {good.Bytes, nil, ""},
		"xml and bin":     {xml, bin, ""},
		"mark and spaces": {append([]byte("\ufeff\n "), xml...), bin, ""},
		"xml alone":       {xml, nil, inference.CodeFormat},
		"onnx and bin":    {good.Bytes, bin, inference.CodeFormat},
		"nothing":         {nil, nil, inference.CodeFormat},
		"a page":          {[]byte("<html></html>"), nil, inference.CodeFormat},
		"no graph":        {varint(1, 7), nil, inference.CodeFormat},
		"cut":             {good.Bytes[:len(good.Bytes)-1], nil, inference.CodeFormat},
		"graph no bytes":  {varint(7, 1), nil, inference.CodeFormat},
		"group":           {[]byte{7<<3 | 3}, nil, inference.CodeFormat},
		"too deep":        {nested(7, deep), nil, inference.CodeFormat},
	} {
		t.Run(name, func(t *testing.T) {
			good.Bytes = c.bytes
			good.Weights = c.weights
			err := checkFiles(good, devices()[0])
			if c.code != "" {
				enginetest.CheckRefusal(t, err, c.code)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

// FuzzCheckFiles: whatever the bytes are, the check ends with a refusal or with nothing to say.
func FuzzCheckFiles(f *testing.F) {
	m := onnxModel("NCHW", inference.Float32, inference.Float32)
	f.Add(m.Bytes)
	f.Add(append(nested(7, external(5)), lying(3)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		m.Bytes = b
		err := checkFiles(m, devices()[0])
		if err != nil {
			if _, ok := err.(*inference.Refusal); !ok {
				t.Errorf("%T %v", err, err)
			}
		} else if !isIR(b) && !bytes.Contains(b, []byte{7<<3 | 2}) {
			t.Error("took a file without a graph")
		}
	})
}

func TestPlain(t *testing.T) {
	for in, want := range map[string]string{
		"read: Exception from src/inference/src/cpp/core.cpp:97:\nCheck 'a::b(c)' failed at src/x/y.cpp:12:\nUnable to read the model": "read: Unable to read the model",
		"infer: [ GENERAL_ERROR ] no\x00 way": "infer: no? way",
	} {
		if got := plain(in); got != want {
			t.Errorf("%q; want %q", got, want)
		}
	}
	if got := plain(string(bytes.Repeat([]byte("ä"), 500))); len(got) > 303 || got == "" {
		t.Errorf("%d bytes: %q", len(got), got)
	}
}

// TestLibraries: the environment's word alone, as a file or a folder; else beside the program, the newest first; for the stick nothing of the system's.
func TestLibraries(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"lib/openvino/libopenvino_c.so.2541", "lib/openvino/libopenvino_c.so.2641", "lib/openvino-2022/libopenvino_c.so.2231"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	conf := func(m map[string]string) *Config {
		return &New(Config{Getenv: env(m), Executable: dir + "/heron-vision"}).conf
	}
	cpu, stick := devices()[0], devices()[3]
	if got := conf(nil).libraries(cpu); got[0] != dir+"/lib/openvino/libopenvino_c.so.2641" || got[1] != dir+"/lib/openvino/libopenvino_c.so.2541" || got[len(got)-1] != "libopenvino_c.so" {
		t.Errorf("%q", got)
	}
	if got := conf(nil).libraries(stick); len(got) != 1 || got[0] != dir+"/lib/openvino-2022/libopenvino_c.so.2231" {
		t.Errorf("%q", got)
	}
	if got := conf(map[string]string{libraryEnv: "/x/y.so"}).libraries(cpu); len(got) != 1 || got[0] != "/x/y.so" {
		t.Errorf("%q", got)
	}
	if got := conf(map[string]string{library2022Env: dir + "/lib/openvino"}).libraries(stick); len(got) != 2 {
		t.Errorf("%q", got)
	}
}
