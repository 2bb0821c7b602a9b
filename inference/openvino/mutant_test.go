//go:build cgo && linux

package openvino

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"heron/inference"
	"heron/inference/enginetest"
)

// TestTorture_Mutants: damaged files are refused or run; none takes the process along. How many slip through, for digests and golden
// pictures to catch, is printed. HERON_TORTURE=long takes a thousand of each kind instead of 30.
func TestTorture_Mutants(t *testing.T) {
	r := real(t)
	rounds := 30
	if os.Getenv("HERON_TORTURE") == "long" {
		rounds = 1000
	}
	seed, err := strconv.ParseUint(os.Getenv("HERON_TORTURE_SEED"), 10, 64)
	if err != nil {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("HERON_TORTURE_SEED=%d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	onnx := onnxModel("NCHW", inference.Float32, inference.Float32)
	xml, bin := ir(onnx.Spec)
	pair := inference.Model{File: "m.xml", Spec: onnx.Spec}
	for kind, open := range map[string]func() (inference.Engine, error){
		"onnx": func() (inference.Engine, error) {
			m := onnx
			m.Bytes = mutant(rnd, onnx.Bytes)
			return r.Open(t.Context(), m)
		},
		"xml": func() (inference.Engine, error) {
			m := pair
			m.Bytes = mutant(rnd, xml)
			m.Weights = bin
			return r.Open(t.Context(), m)
		},
		"bin": func() (inference.Engine, error) {
			m := pair
			m.Bytes = xml
			m.Weights = mutant(rnd, bin)
			return r.Open(t.Context(), m)
		},
	} {
		ran := 0
		for range rounds {
			e, err := open()
			if err != nil {
				ref := (*inference.Refusal)(nil)
				if !errors.As(err, &ref) {
					t.Errorf("%s: %v is no refusal", kind, err)
					continue
				}
				enginetest.CheckRefusal(t, err, ref.Code)
				continue
			}
			ran++
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			_ = e.Run(ctx) // may fail, must not crash
			cancel()
			if err := e.Close(); err != nil {
				t.Error(err)
			}
		}
		t.Logf("%s: %d of %d open", kind, ran, rounds)
	}
}

// mutant is a copy that is cut off, has bits flipped, or a part zeroed.
func mutant(rnd *rand.Rand, b []byte) []byte {
	out := slices.Clone(b)
	at := rnd.IntN(len(out))
	switch rnd.IntN(4) {
	case 0:
		return out[:at]
	case 1:
		out[at] ^= 1 << rnd.IntN(8)
	case 2:
		for range 20 {
			out[rnd.IntN(len(out))] ^= 1 << rnd.IntN(8)
		}
	case 3:
		clear(out[at:min(len(out), at+50)])
	}
	return out
}
