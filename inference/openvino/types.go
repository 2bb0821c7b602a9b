package openvino

import (
	"fmt"
	"strings"

	"heron/inference"
)

// typeWord is an element type in the words of an IR and of Heron.
type typeWord struct{ ir, precision, heron string }

// typeWords are the element types that Heron reads, and those that models have by mistake.
func typeWords() []typeWord {
	return []typeWord{
		{"f32", "FP32", string(inference.Float32)}, {"u8", "U8", string(inference.Uint8)}, {"i8", "I8", string(inference.Int8)},
		{"f16", "FP16", "float16"}, {"f64", "FP64", "float64"}, {"i32", "I32", "int32"}, {"i64", "I64", "int64"}, {"boolean", "BOOL", "bool"},
	}
}

// typesIR is a model whose inputs are called after their element types.
func typesIR() string {
	var layers, edges strings.Builder
	for i, w := range typeWords() {
		fmt.Fprintf(&layers, `<layer id="%d" name="%s" type="Parameter" version="opset1"><data shape="1" element_type="%s"/>`+
			`<output><port id="0" precision="%s" names="%s"><dim>1</dim></port></output></layer>`, 2*i, w.ir, w.ir, w.precision, w.ir)
		fmt.Fprintf(&layers, `<layer id="%d" name="%s_out" type="Result" version="opset1"><input><port id="0" precision="%s"><dim>1</dim></port></input></layer>`,
			2*i+1, w.ir, w.precision)
		fmt.Fprintf(&edges, `<edge from-layer="%d" from-port="0" to-layer="%d" to-port="0"/>`, 2*i, 2*i+1)
	}
	return `<?xml version="1.0"?><net name="heron-types" version="11"><layers>` + layers.String() + `</layers><edges>` + edges.String() + `</edges></net>`
}
