package openvino

import (
	"regexp"
	"strings"

	"heron/inference"
)

// builder is where OpenVINO's messages say in whose source they arose: "Exception from src/…cpp:97:", "[ GENERAL_ERROR ]", "Check '…' failed at".
var builder = regexp.MustCompile(`(Exception from |Check '[^']*' failed at )\S+:\d+:? ?|\[ ?[A-Z_]+ ?\] ?`)

// plain makes one short line for people of a message of OpenVINO's.
func plain(text string) string {
	return inference.OneLine(builder.ReplaceAllString(strings.Join(strings.Fields(text), " "), ""))
}

// explain makes one short line, a code and a next step of what OpenVINO says.
func explain(d device, version, text string) *inference.Refusal {
	text = plain(text)
	r := inference.Refuse(inference.CodeFormat, "use a model that OpenVINO "+version+" reads", "OpenVINO: %s", text)
	has := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(text, w) {
				return true
			}
		}
		return false
	}
	switch {
	case has("not registered", "Cannot load library", "Can not init Myriad device", "NC_ERROR", "X_LINK", "LIBUSB_ERROR", "No available device", "OpenCL", "Level Zero"):
		r.Code, r.Err, r.NextStep = inference.CodeUnavailable, inference.ErrUnavailable, d.mend(text)
	case has("bad_alloc", "ailed to allocate"):
		r.Code, r.NextStep = inference.CodeBudget, "use a smaller model"
	case has("externally stored", "outside the base directory"):
		r.Code, r.NextStep = inference.CodeExternalData, "export the model with its weights inside, in one file"
	case has("No conversion rule", "nsupported operation", "annot create"):
		r.NextStep = "export the model with standard operators"
	}
	return r
}

func busy(text string) bool { return strings.Contains(strings.ToLower(text), "busy") }

// mend is the next step for a device that OpenVINO could not use.
func (d device) mend(text string) string {
	switch {
	case strings.Contains(text, "not registered"):
		return "set " + d.env + " to a whole OpenVINO: this one has not " + d.plugin + " beside it"
	case d.engine == Myriad && busy(text):
		return "end the program that holds the stick"
	case d.engine == Myriad:
		return "plug the stick in again, and see heron accel list"
	case d.engine == CPU:
		return "run make setup again"
	}
	return "install the driver of the " + d.name + " and all of OpenVINO's libraries, and see heron accel list"
}
