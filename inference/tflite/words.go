package tflite

import (
	"regexp"
	"strings"

	"heron/inference"
)

// sourcePlace is how many of TensorFlow Lite's messages begin: file and line.
var sourcePlace = regexp.MustCompile(`\S*/tensorflow/lite/\S+:\d+ `)

// plain makes one short printable line of a library's words.
func plain(text string) string {
	return inference.OneLine(sourcePlace.ReplaceAllString(strings.Join(strings.Fields(text), " "), ""))
}

// unavailable is the refusal of an engine for a reason that may be a library's words.
func unavailable(next, what string) *inference.Refusal {
	return inference.Unavailable(next, "%s", plain(what))
}

// explain makes a refusal of what TensorFlow Lite says of a model.
func explain(version, text string) *inference.Refusal {
	code, next := inference.CodeFormat, "use a model that TensorFlow Lite "+version+" reads"
	if text == "" {
		text = "not a model that this library reads"
	}
	switch {
	case strings.Contains(text, "unresolved custom op"), strings.Contains(text, "Select TensorFlow op"):
		next = "export the model with built-in operators only"
	case strings.Contains(text, "Didn't find op for builtin opcode"), strings.Contains(text, "schema version"):
		next = "export the model with an older converter, or use a newer TensorFlow Lite"
	}
	return inference.Refuse(code, next, "TensorFlow Lite: %s", plain(text))
}
