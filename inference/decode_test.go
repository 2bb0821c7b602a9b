package inference

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func decoder(t *testing.T, s *Spec, out *Tensor) *Decoder {
	t.Helper()
	d, err := NewDecoder(s, out)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func labelled(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprint("l", i)
	}
	return out
}

func TestDecode(t *testing.T) {
	eighth := &Quant{Scale: 1.0 / 256}
	abc := []string{"a", "b", "c"}
	for _, c := range []struct {
		name   string
		labels []string
		out    Output
		tensor Tensor
		limits Thresholds
		want   []Score
	}{
		{"float", abc, Output{Kind: "probabilities"}, Tensor{DType: Float32, F32: []float32{.25, .5, .25}}, Thresholds{}, []Score{{"b", .5}, {"a", .25}, {"c", .25}}},
		{"uint8", abc, Output{Kind: "probabilities", DType: Uint8, Quant: eighth}, Tensor{DType: Uint8, U8: []uint8{0, 64, 192}}, Thresholds{}, []Score{{"c", .75}, {"b", .25}, {"a", 0}}},
		{"int8", abc, Output{Kind: "probabilities", DType: Int8, Quant: &Quant{1.0 / 256, -128}}, Tensor{DType: Int8, I8: []int8{-128, 64, -64}}, Thresholds{}, []Score{{"b", .75}, {"c", .25}, {"a", 0}}},
		{"logits", abc[:2], Output{Kind: "logits"}, Tensor{DType: Float32, F32: []float32{1000, 1000}}, Thresholds{}, []Score{{"a", .5}, {"b", .5}}},
		{"far logits", abc[:2], Output{Kind: "logits"}, Tensor{DType: Float32, F32: []float32{-3e38, 3e38}}, Thresholds{}, []Score{{"b", 1}, {"a", 0}}},
		{"rounding", abc[:2], Output{Kind: "probabilities"}, Tensor{DType: Float32, F32: []float32{1.0078125, -.0078125}}, Thresholds{}, []Score{{"a", 1}, {"b", 0}}},
		{"sigmoids", abc[:2], Output{Kind: "probabilities"}, Tensor{DType: Float32, F32: []float32{.75, .875}}, Thresholds{}, []Score{{"b", .875}, {"a", .75}}},
		{"at its threshold", abc[:2], Output{Kind: "probabilities"}, Tensor{DType: Float32, F32: []float32{.5, .25}}, Thresholds{Default: .5}, []Score{{"a", .5}, {"b", .25}}},
		{"under the default", abc[:2], Output{Kind: "probabilities"}, Tensor{DType: Float32, F32: []float32{.5, .25}}, Thresholds{Default: .625}, []Score{{Unknown, .5}, {"a", .5}, {"b", .25}}},
		{"under its own", abc[:2], Output{Kind: "probabilities"}, Tensor{DType: Float32, F32: []float32{.5, .25}}, Thresholds{PerLabel: map[string]float64{"a": .75}}, []Score{{Unknown, .5}, {"a", .5}, {"b", .25}}},
		{"its own is lower", abc[:2], Output{Kind: "probabilities"}, Tensor{DType: Float32, F32: []float32{.5, .25}}, Thresholds{Default: .9, PerLabel: map[string]float64{"a": .5}}, []Score{{"a", .5}, {"b", .25}}},
		{"a label called unknown", []string{"a", Unknown}, Output{Kind: "probabilities"}, Tensor{DType: Float32, F32: []float32{.25, .5}}, Thresholds{Default: .9}, []Score{{Unknown, .5}, {"a", .25}}},
		{"one class", abc[:1], Output{Kind: "probabilities"}, Tensor{DType: Float32, F32: []float32{.5}}, Thresholds{}, []Score{{"a", .5}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := decoder(t, &Spec{Labels: c.labels, Output: c.out, Thresholds: c.limits}, &c.tensor).Top()
			if err != nil || !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %v, %v; want %v", got, err, c.want)
			}
		})
	}
}

func TestDecodeRefuses(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	q := &Quant{Scale: 1}
	for _, c := range []struct {
		out    Output
		tensor Tensor
		code   string
		want   string
	}{
		{Output{Kind: "probabilities"}, Tensor{DType: Float32, F32: []float32{0, nan}}, CodeNotFinite, `"b" is NaN`},
		{Output{Kind: "logits"}, Tensor{DType: Float32, F32: []float32{inf, 0}}, CodeNotFinite, `"a" is +Inf`},
		{Output{Kind: "logits"}, Tensor{DType: Float32, F32: []float32{0, -inf}}, CodeNotFinite, `"b" is -Inf`},
		{Output{Kind: "probabilities"}, Tensor{DType: Float32, F32: []float32{0, 1.03}}, CodeNotProbabilities, `output.kind "logits"`},
		{Output{Kind: "probabilities"}, Tensor{DType: Float32, F32: []float32{0, -.03}}, CodeNotProbabilities, `"b" is -0.03`},
		{Output{Kind: "probabilities", DType: Uint8, Quant: q}, Tensor{DType: Uint8, U8: []uint8{0, 255}}, CodeNotProbabilities, "scale 0.00390625"},
	} {
		_, err := decoder(t, &Spec{Labels: []string{"a", "b"}, Output: c.out}, &c.tensor).Top()
		if r := wantRefusal(t, err, c.code); r != nil && !strings.Contains(r.Error(), c.want) {
			t.Errorf("says %q; want %q", r.Error(), c.want)
		}
	}
	_, err := NewDecoder(&Spec{Labels: []string{"a"}}, &Tensor{DType: Float32, F32: make([]float32, 2)})
	wantRefusal(t, err, CodeLabels)
	_, err = NewDecoder(&Spec{Labels: []string{"a"}}, &Tensor{DType: Uint8, U8: make([]uint8, 1)})
	wantRefusal(t, err, CodeContract)
}

// TestDecodeIsARanking: the scores are the largest ones in order, and JSON takes them, whatever the tensor holds.
func TestDecodeIsARanking(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.SliceOfN(rapid.Float32(), 1, 40).Draw(t, "v")
		kind := rapid.SampledFrom([]string{"logits", "probabilities"}).Draw(t, "kind")
		if kind == "probabilities" {
			for i := range v {
				v[i] = float32(math.Abs(math.Mod(float64(v[i]), 1)))
			}
		}
		labels := labelled(len(v))
		d, err := NewDecoder(&Spec{Labels: labels, Output: Output{Kind: kind}}, &Tensor{DType: Float32, F32: slices.Clone(v)})
		if err != nil {
			t.Fatal(err)
		}
		top, err := d.Top()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := json.Marshal(top); err != nil || len(top) != min(len(v), TopK) {
			t.Fatalf("%v: %v", top, err)
		}
		order := make([]int, len(v))
		for i := range order {
			order[i] = i
		}
		slices.SortStableFunc(order, func(a, b int) int {
			if d.real[a] > d.real[b] {
				return -1
			} else if d.real[a] < d.real[b] {
				return 1
			}
			return 0
		})
		for i, s := range top {
			if s.Label != labels[order[i]] || s.Score < 0 || s.Score > 1 {
				t.Fatalf("place %d is %v, want %s; all %v", i, s, labels[order[i]], v)
			}
		}
	})
}

func TestDecodeAllocatesTheAnswerOnly(t *testing.T) {
	d := decoder(t, &Spec{Labels: labelled(1001), Output: Output{Kind: "logits"}}, &Tensor{DType: Float32, F32: make([]float32, 1001)})
	if n := testing.AllocsPerRun(20, func() {
		if _, err := d.Top(); err != nil {
			t.Fatal(err)
		}
	}); n > 1 {
		t.Errorf("%v allocations", n)
	}
}
