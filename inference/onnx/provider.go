package onnx

import (
	"regexp"
	"strings"

	"heron/inference"
)

// The names of the engines, as manifests and configurations have them.
const (
	CPU      = "onnx"
	CUDA     = "cuda"
	TensorRT = "tensorrt"
)

// provider is one of ONNX Runtime's ways to compute. Each is asked for alone: a node that it has no kernel for is refused, where ONNX Runtime
// would put it on the CPU without a word.
type provider struct {
	engine string
	name   string // in messages
	device string
}

// gpu says that the provider needs an NVIDIA GPU.
func (p provider) gpu() bool { return p.engine != CPU }

// explain makes one short line, a code and a next step of what ONNX Runtime says; version is the library's.
func (p provider) explain(version string, err error) *inference.Refusal {
	text := plain(err.Error())
	has := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(text, w) {
				return true
			}
		}
		return false
	}
	if p.gpu() {
		return p.explainGPU(has, text, err)
	}
	code, next := inference.CodeFormat, "use a model that ONNX Runtime "+version+" reads"
	switch {
	case has("bad_alloc", "Failed to allocate memory"):
		code, next = inference.CodeBudget, "use a smaller model"
	case has("opset", "IR version"):
		next = "export the model with an older opset, or use a newer ONNX Runtime"
	case has("Op registered", "registered function/op"):
		next = "export the model with standard operators"
	case has("invalid dimensions", "shape"):
		code, next = inference.CodeContract, "correct the shapes in manifest.json, or the label file"
	}
	return &inference.Refusal{Code: code, What: "ONNX Runtime: " + text, NextStep: next, Err: err}
}

// cudaFailure is how ONNX Runtime passes CUDA's words on: "… CUDA failure 100: no CUDA-capable device is detected ; GPU=-1 ; hostname=…".
var cudaFailure = regexp.MustCompile(`((?:CUDA|CUDNN|CUBLAS) failure \d+: [^;]*[^; ])`)

// explainGPU: what a GPU cannot do now is its absence to whoever looks for an engine; what it cannot do with this model is the model's fault.
func (p provider) explainGPU(has func(...string) bool, text string, err error) *inference.Refusal {
	if said := cudaFailure.FindStringSubmatch(text); said != nil {
		text = said[1] // without the machine's name and the builder's folders
	}
	switch {
	case has("fallback to CPU EP has been explicitly disabled"):
		return &inference.Refusal{Code: inference.CodeFormat, Err: err, NextStep: "use the engine onnx, or export the model with operators that " + p.name + " has",
			What: "part of the model would run on the CPU, for " + p.name + " has no kernel for it"}
	case has("opset", "IR version", "Op registered", "registered function/op", "INVALID_PROTOBUF", "INVALID_GRAPH"):
		return provider{engine: CPU}.explain("", err)
	case has("out of memory", "Failed to allocate memory", "ALLOC_FAILED", "CUDA failure 2:", "MemoryAllocation", "OutOfMemory"):
		return inference.Unavailable("end what else uses the GPU, or use a smaller model", "the GPU's memory is full: %s: %s", p.name, text)
	case has("is not enabled in this build"):
		return inference.Unavailable("set "+libraryEnv+" to the library of onnxruntime-gpu (on a Jetson: the one that NVIDIA built for its JetPack)", "the ONNX Runtime at hand has no %s provider", p.name)
	case has("libcuda.so"):
		return inference.Unavailable("install NVIDIA's driver, of which libcuda.so.1 is a part", "the %s provider cannot be loaded: there is no libcuda.so.1", p.name)
	case has("Failed to load library", "Failed to load shared library"):
		if _, after, ok := strings.Cut(text, "with error: "); ok {
			text = after
		}
		return inference.Unavailable("install the CUDA, cuDNN and TensorRT that this ONNX Runtime was built for", "the %s provider cannot be loaded: %s", p.name, text)
	case has("driver version is insufficient", "no CUDA-capable device", "CUDA failure 35", "CUDA failure 100"):
		return inference.Unavailable("install the driver that this CUDA needs, and see that the GPU is plugged in", "%s finds no GPU that it can use: %s", p.name, text)
	}
	return inference.Unavailable("look into the kernel's log for NVRM and Xid, and see heron accel list", "%s: %s", p.name, text)
}

func providers() []provider {
	return []provider{{CPU, "ONNX Runtime", "cpu"}, {CUDA, "CUDA", "gpu"}, {TensorRT, "TensorRT", "gpu"}}
}
