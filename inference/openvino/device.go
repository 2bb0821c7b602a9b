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
	absent string // what is said when the hardware is not there
	get    string // … and what to do then
}

const (
	libraryEnv     = "HERON_OPENVINO_LIB"
	library2022Env = "HERON_OPENVINO_2022_LIB"
)

// devices are in the order in which Report opens their libraries: the current one before 2022.3.1. Both carry a libtbb.so.12, a process
// has one of them, and only the newer serves both.
func devices() []device {
	return []device{
		{engine: CPU, name: "CPU", info: "cpu", plugin: "its CPU plugin", env: libraryEnv, folder: "openvino"},
		{engine: GPU, name: "GPU", info: "gpu", plugin: "libopenvino_intel_gpu_plugin.so", env: libraryEnv, folder: "openvino",
			absent: "this machine has no Intel GPU, or no kernel driver for it (/sys/class/drm has no render node of Intel's)", get: "use another engine"},
		{engine: NPU, name: "NPU", info: "npu", plugin: "libopenvino_intel_npu_plugin.so", env: libraryEnv, folder: "openvino",
			absent: "this machine has no Intel NPU, or no kernel driver for it (/sys/class/accel is empty)", get: "use another engine"},
		{engine: Myriad, name: "MYRIAD", info: "ncs2", plugin: "libopenvino_intel_myriad_plugin.so", env: library2022Env, folder: "openvino-2022",
			absent: "no Neural Compute Stick is on the USB (03e7:2485, or 03e7:f63b when it runs)", get: "plug it in"},
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
