package openvino

import (
	"strconv"

	"heron/inference"
)

// device is one of OpenVINO's, and what is particular about it.
type device struct {
	engine string // Heron's name
	name   string // OpenVINO's
	info   string // for inference.Info
	plugin string // the file that serves it, beside the library
	env    string // names its library
	folder string // … and where it is looked for, below lib/ beside the program
}

const (
	libraryEnv     = "HERON_OPENVINO_LIB"
	library2022Env = "HERON_OPENVINO_2022_LIB"
)

func devices() []device {
	return []device{
		{CPU, "CPU", "cpu", "libopenvino_*_cpu_plugin.so", libraryEnv, "openvino"},
		{GPU, "GPU", "gpu", "libopenvino_intel_gpu_plugin.so", libraryEnv, "openvino"},
		{NPU, "NPU", "npu", "libopenvino_intel_npu_plugin.so", libraryEnv, "openvino"},
		{Myriad, "MYRIAD", "ncs2", "libopenvino_intel_myriad_plugin.so", library2022Env, "openvino-2022"},
	}
}

// properties are asked for where the device has them, for one frame at a time. float32 is computed as such on the CPU:
// OpenVINO would take bfloat16 where the CPU has it, and scores would differ from board to board.
func (d device) properties(threads int) [][2]string {
	p := [][2]string{{"PERFORMANCE_HINT", "LATENCY"}, {"NUM_STREAMS", "1"}}
	switch d.engine {
	case Myriad:
		return nil // one stick, one model: the plugin's own settings are the tested ones
	case CPU:
		p = append(p, [2]string{"INFERENCE_PRECISION_HINT", "f32"}, [2]string{"INFERENCE_NUM_THREADS", strconv.Itoa(threads)},
			[2]string{"ENABLE_CPU_PINNING", "NO"}) // the cores are shared with camera and core
	}
	return p
}

// fits refuses what the device cannot take, whatever the model says.
func (d device) fits(s *inference.Spec) error {
	if d.engine == Myriad && (s.Input.DType != inference.Float32 || s.Output.Type() != inference.Float32) {
		return inference.Refuse(inference.CodeContract, "give the entry for myriad a float32 model, with input and output of its own",
			"the stick computes with floats; the manifest says %s in and %s out", s.Input.DType, s.Output.Type())
	}
	return nil
}
