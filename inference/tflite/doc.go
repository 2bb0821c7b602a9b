// Package tflite runs TensorFlow Lite models on the CPU ("tflite") and on Coral's Edge TPU ("edgetpu"). Both libraries are opened at run time.
//
// Before the runtime sees a file, Heron reads it itself (inference.ReadTFLite) and compares it with the manifest (contract.go), as inference/onnx does.
// The runtime verifies the file's structure once more (TfLiteModelCreate does), and neither finds a damaged weight: that is what digests and golden pictures are for.
//
// libedgetpu and TensorFlow Lite share C structures: a pair that was not built for each other aborts the process. So the pair is tried in a
// child process first (probe.go); a program that offers this engine routes ProbeFlag to ProbeMain.
package tflite
