package inference

import (
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// maxSide bounds a model's picture: 4096 × 4096 × 3 floats are 200 MB.
const maxSide = 4096

// Validate checks what can be checked without the files; errors name the field.
func (m *Manifest) Validate() error {
	c := &checker{}
	c.want(m.V == 1, "v", m.V, "1, the version that this Heron reads")
	c.name("name", m.Name)
	c.name("version", m.Version)
	if m.Created != "" {
		_, err := time.Parse(time.RFC3339, m.Created)
		c.want(err == nil, "created", m.Created, "a time such as 2026-11-20T10:00:00Z")
	}
	c.want(m.Task == "" || m.Task == "classification", "task", m.Task, `"classification"`)
	c.file("labels", m.Labels)
	if m.Baseline != "" {
		c.file("baseline", m.Baseline)
	}
	c.files(m.Files)
	c.input("input", &m.Input)
	c.output("output", &m.Output)
	c.engines(m.Engines)
	c.thresholds(&m.Thresholds)
	c.golden(m.Golden)
	if a := m.Accuracy; a != nil {
		c.unit("accuracy.held_out", a.HeldOut)
		c.want(a.N >= 0, "accuracy.n", a.N, "0 or more")
	}
	if b := m.Budget; b != nil {
		c.want(b.LatencyMS >= 0, "budget.latency_ms", b.LatencyMS, "0 or more")
		c.want(b.RSSMB >= 0, "budget.rss_mb", b.RSSMB, "0 or more")
	}
	return c.err
}

// checker keeps the first complaint.
type checker struct{ err error }

func (c *checker) want(ok bool, field string, got any, allowed string) {
	if ok || c.err != nil {
		return
	}
	if s, isString := got.(string); isString {
		if s == "" {
			c.err = fmt.Errorf("manifest.json: %s is missing; expected %s", field, allowed)
			return
		}
		got = fmt.Sprintf("%q", s)
	}
	c.err = fmt.Errorf("manifest.json: %s is %v; expected %s", field, got, allowed)
}

func (c *checker) oneOf(field, got string, allowed ...string) {
	c.want(slices.Contains(allowed, got), field, got, strings.Join(allowed, ", "))
}

// oneOfOrNone is oneOf for a field with a default.
func (c *checker) oneOfOrNone(field, got string, allowed ...string) {
	if got != "" {
		c.oneOf(field, got, allowed...)
	}
}

func (c *checker) unit(field string, v float64) {
	c.want(v >= 0 && v <= 1, field, v, "0 to 1")
}

// name holds what goes into records and file names: letters, digits and . _ - + only.
func (c *checker) name(field, s string) {
	ok := s != "" && len(s) <= 128 && strings.IndexFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-+", r))
	}) < 0
	c.want(ok, field, s, "up to 128 letters, digits and . _ - +")
}

// file holds a path below the bundle's folder, written one way only.
func (c *checker) file(field, s string) {
	ok := s != "" && filepath.IsLocal(s) && path.Clean(s) == s && s != "." && !strings.ContainsAny(s, "\\\x00")
	c.want(ok, field, s, "the name of a file in the bundle, such as labels.txt")
}

func (c *checker) files(files []File) {
	seen := map[string]bool{}
	for i, f := range files {
		at := fmt.Sprintf("files[%d].", i)
		c.file(at+"path", f.Path)
		c.want(!seen[f.Path], at+"path", f.Path, "each file once")
		seen[f.Path] = true
		c.want(f.Size >= 0, at+"size", f.Size, "a number of bytes")
		b, err := hex.DecodeString(f.SHA256)
		c.want(err == nil && len(b) == 32 && strings.ToLower(f.SHA256) == f.SHA256, at+"sha256", f.SHA256, "64 lower-case hex digits")
	}
}

func (c *checker) engines(engines []EngineEntry) {
	if len(engines) == 0 && c.err == nil {
		c.err = errors.New(`manifest.json: engines is missing; expected a list such as [{"engine":"onnx","file":"model.onnx"}]`)
	}
	for i, e := range engines {
		at := fmt.Sprintf("engines[%d].", i)
		c.name(at+"engine", e.Engine)
		c.file(at+"file", e.File)
		if e.Input != nil {
			c.input(at+"input", e.Input)
		}
		if e.Output != nil {
			c.output(at+"output", e.Output)
		}
	}
}

func (c *checker) input(at string, in *Input) {
	c.want(in.Width >= 1 && in.Width <= maxSide, at+".width", in.Width, "1 to 4096")
	c.want(in.Height >= 1 && in.Height <= maxSide, at+".height", in.Height, "1 to 4096")
	c.oneOf(at+".layout", in.Layout, "NHWC", "NCHW")
	c.oneOf(at+".dtype", string(in.DType), string(Float32), string(Uint8), string(Int8))
	c.oneOfOrNone(at+".color", in.Color, "RGB", "BGR", "GRAY")
	c.oneOfOrNone(at+".resize", in.Resize, "stretch", "crop", "letterbox")
	c.oneOfOrNone(at+".filter", in.Filter, "bilinear", "area")
	if in.Pad != nil {
		c.want(*in.Pad >= 0 && *in.Pad <= 255, at+".pad", *in.Pad, "0 to 255")
	}
	c.perChannel(at+".mean", in.Mean, in.Channels(), -1e6)
	c.perChannel(at+".std", in.Std, in.Channels(), 1e-9)
	switch {
	case in.Quant != nil:
		c.quant(at+".quant", in.DType, in.Quant)
	case in.DType == Int8:
		c.want(false, at+".quant", "", `{"scale":…,"zero_point":…}, which int8 needs`)
	case in.DType == Uint8 && !in.plain():
		c.want(false, at+".quant", "", `{"scale":…,"zero_point":…}, or neither mean nor std for raw pixels`)
	}
}

func (c *checker) perChannel(field string, v []float64, channels int, least float64) {
	if v == nil {
		return
	}
	c.want(len(v) == channels, field, v, fmt.Sprintf("%d numbers, one a channel", channels))
	for i, x := range v {
		c.want(x >= least && x <= 1e6, fmt.Sprintf("%s[%d]", field, i), x, fmt.Sprintf("%g to 1e6", least))
	}
}

func (c *checker) quant(at string, t DType, q *Quant) {
	c.want(q.Scale >= 1e-12 && q.Scale <= 1e6, at+".scale", q.Scale, "a number above 0")
	switch t {
	case Uint8:
		c.want(q.ZeroPoint >= 0 && q.ZeroPoint <= 255, at+".zero_point", q.ZeroPoint, "0 to 255")
	case Int8:
		c.want(q.ZeroPoint >= -128 && q.ZeroPoint <= 127, at+".zero_point", q.ZeroPoint, "-128 to 127")
	default:
		c.want(false, at, *q, "none for float32")
	}
}

func (c *checker) output(at string, o *Output) {
	c.oneOf(at+".kind", o.Kind, "probabilities", "logits")
	c.oneOfOrNone(at+".dtype", string(o.DType), string(Float32), string(Uint8), string(Int8))
	if o.Quant != nil {
		c.quant(at+".quant", o.Type(), o.Quant)
	} else {
		c.want(o.Type() == Float32, at+".quant", "", `{"scale":0.00390625,"zero_point":0} or as the model has it: `+string(o.DType)+" needs one")
	}
}

func (c *checker) thresholds(t *Thresholds) {
	c.unit("thresholds.default", t.Default)
	for _, label := range sortedKeys(t.PerLabel) {
		c.unit(fmt.Sprintf("thresholds.per_label[%q]", label), t.PerLabel[label])
	}
}

func (c *checker) golden(golden []Golden) {
	for i, g := range golden {
		at := fmt.Sprintf("golden[%d].", i)
		c.file(at+"input", g.Input)
		c.want(g.Top1 != "", at+"top1", g.Top1, "a label")
		c.unit(at+"score", g.Score)
		c.unit(at+"tolerance", g.Tolerance)
	}
}
