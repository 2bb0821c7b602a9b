package inference

import (
	"fmt"
	"math"
)

// TopK is how many scores a Result holds at most.
const TopK = 5

// slack is how far outside 0…1 a probability may be by rounding.
const slack = 0.02

// Decoder turns an output tensor into scores. It belongs to one goroutine: it keeps room for the answer.
type Decoder struct {
	out    *Tensor
	spec   *Spec
	real   []float32 // the answer as real numbers; for a float32 tensor that needs no arithmetic, the tensor itself
	dequan [256]float32
}

// NewDecoder checks the output tensor against the spec: element type, and one value per label.
func NewDecoder(s *Spec, out *Tensor) (*Decoder, error) {
	if out.DType != s.Output.Type() {
		return nil, Refuse(CodeContract, "correct output.dtype in manifest.json", "output %q is %s; the manifest says %s", out.Name, out.DType, s.Output.Type())
	}
	n := len(out.F32) + len(out.U8) + len(out.I8)
	if n != len(s.Labels) {
		return nil, Refuse(CodeLabels, "give the label file that belongs to this model", "the model has %d classes, the label file %d labels", n, len(s.Labels))
	}
	d := &Decoder{out: out, spec: s, real: make([]float32, n)}
	if out.DType != Float32 {
		d.fillDequantiser(s.Output.Quant)
	}
	return d, nil
}

func (d *Decoder) fillDequantiser(q *Quant) {
	for i := range d.dequan {
		v := i
		if d.out.DType == Int8 {
			v = int(int8(i))
		}
		d.dequan[i] = float32(float64(v-q.ZeroPoint) * q.Scale)
	}
}

// Top reads the output tensor as it is now: at most TopK scores, best first, equal ones in the order of the labels.
// Where the best is below its label's threshold, "unknown" with that score comes first.
// An answer that is not finite, or no probability where the manifest says so, is a *Refusal.
func (d *Decoder) Top() ([]Score, error) {
	d.fetch()
	if err := d.finite(); err != nil {
		return nil, err
	}
	if d.spec.Output.Kind == "logits" {
		softmax(d.real)
	} else if err := d.probabilities(); err != nil {
		return nil, err
	}
	return d.rank(), nil
}

func (d *Decoder) fetch() {
	switch d.out.DType {
	case Float32:
		copy(d.real, d.out.F32)
	case Uint8:
		for i, q := range d.out.U8 {
			d.real[i] = d.dequan[q]
		}
	case Int8:
		for i, q := range d.out.I8 {
			d.real[i] = d.dequan[uint8(q)]
		}
	}
}

func (d *Decoder) finite() error {
	for i, v := range d.real {
		if v-v != 0 { // NaN and both infinities
			return Refuse(CodeNotFinite, "use another model: this one's arithmetic breaks down", "the answer for %q is %v", d.spec.Labels[i], v)
		}
	}
	return nil
}

func (d *Decoder) probabilities() error {
	for i, v := range d.real {
		if v < -slack || v > 1+slack {
			next := `say output.kind "logits" in manifest.json if the model has no softmax`
			if d.out.DType != Float32 {
				next = fmt.Sprintf("correct output.quant (256 steps of a probability: scale 0.00390625), or %s", next)
			}
			return Refuse(CodeNotProbabilities, next, "the manifest says probabilities, and the answer for %q is %.4g", d.spec.Labels[i], v)
		}
		d.real[i] = min(max(v, 0), 1)
	}
	return nil
}

// softmax is stable: the largest exponent is 0.
func softmax(v []float32) {
	most := v[0]
	for _, x := range v {
		most = max(most, x)
	}
	var sum float64
	for i, x := range v {
		e := math.Exp(float64(x) - float64(most))
		v[i] = float32(e)
		sum += e
	}
	for i := range v {
		v[i] = float32(float64(v[i]) / sum)
	}
}

func (d *Decoder) rank() []Score {
	best, n := d.best()
	top := make([]Score, 0, TopK)
	label := d.spec.Labels[best[0]]
	if score := float64(d.real[best[0]]); score < d.spec.Thresholds.Threshold(label) && label != Unknown {
		top = append(top, Score{Unknown, score})
	}
	for _, i := range best[:min(n, TopK-len(top))] {
		top = append(top, Score{d.spec.Labels[i], float64(d.real[i])})
	}
	return top
}

// best is the indices of the n largest values in order.
func (d *Decoder) best() (idx [TopK]int, n int) {
	for i, v := range d.real {
		if n == TopK && v <= d.real[idx[n-1]] {
			continue
		}
		if n < TopK {
			n++
		}
		j := n - 1
		for ; j > 0 && v > d.real[idx[j-1]]; j-- {
			idx[j] = idx[j-1]
		}
		idx[j] = i
	}
	return idx, n
}
