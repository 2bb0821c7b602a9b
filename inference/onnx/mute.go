package onnx

import "os"

// telemetryEnv is ONNX Runtime's own switch against reports to its maker (seen in 1.31.1; versions without reports ignore it).
const telemetryEnv = "ORT_DISABLE_TELEMETRY"

// Mute keeps ONNX Runtime from reporting to its maker. Left alone, the official Linux build (1.31.1) keeps an identity of the device and a
// database of some megabytes below the user's cache folder, and sends what was loaded and run to a server on the internet. A device's link,
// its disk and who knows of it are its owner's. A program calls it first of all, while no native thread may read the environment.
func Mute() {
	if os.Getenv(telemetryEnv) != "1" {
		os.Setenv(telemetryEnv, "1") // its only error is a bad name
	}
}
