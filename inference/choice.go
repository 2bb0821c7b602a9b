package inference

import (
	"regexp"
	"strings"
)

// Engines are the names that heron-vision knows, those that need an accelerator included: which of them can run is another question.
func Engines() []string {
	return []string{"onnx", "cuda", "tensorrt", "tflite", "edgetpu", "openvino", "openvino-gpu", "openvino-npu", "myriad", "scripted"}
}

// edgeTPU is the place of one Coral: the port of a stick, as sysfs names it, or the number of a card.
var edgeTPU = regexp.MustCompile(`^(usb:[1-9][0-9]{0,2}-[1-9][0-9]{0,2}(\.[1-9][0-9]{0,2}){0,6}|pci:(0|[1-9][0-9]{0,2}))$`)

// ParseChoice takes an entry of an order of engines apart: "edgetpu" is any that is free (device is empty), "edgetpu:usb:2-1" the one in that
// port. Only engines of which there may be several have devices to choose from. Manifests name engines alone. The error is a *Refusal.
func ParseChoice(entry string) (engine, device string, err error) {
	engine, device, named := strings.Cut(entry, ":")
	switch {
	case engine == "":
		err = Refuse(CodeEngine, "write one, or auto", "%s names no engine", Quote(entry))
	case !named:
	case edgeTPU.MatchString(entry):
		err = Refuse(CodeEngine, "write edgetpu:"+entry, "%s is a device without its engine", Quote(entry))
	case engine != "edgetpu":
		err = Refuse(CodeEngine, "write "+strings.Trim(Quote(engine), `"`)+" alone", "%s: this engine has no devices to choose from, only edgetpu has", Quote(entry))
	case !edgeTPU.MatchString(device):
		err = Refuse(CodeEngine, "write edgetpu for any that is free, or one as heron accel list names it, such as edgetpu:usb:2-1 or edgetpu:pci:0", "%s names no Edge TPU", Quote(entry))
	}
	return engine, device, err
}

// Choice is the entry of an order of engines that means this very device; the engine alone where there is nothing to choose.
func Choice(engine, device string) string {
	if engine == "edgetpu" && edgeTPU.MatchString(device) {
		return engine + ":" + device
	}
	return engine
}

// Choice is the entry of the order of engines that the model was opened for.
func (s *Spec) Choice() string { return Choice(s.Engine, s.Device) }
