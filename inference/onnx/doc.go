// Package onnx runs ONNX models with ONNX Runtime, whose library is opened at run time: on the CPU ("onnx"), and on NVIDIA's GPUs ("cuda",
// "tensorrt") where the library given has those providers. A provider is asked for alone, never with the CPU behind it.
//
// Before the runtime sees a file, Heron reads it itself (inference.ReadONNX) and compares it with the manifest (contract.go):
// what one runtime refuses the next one takes, and ONNX Runtime reads a tensor's data from any file a model names
// when it is given bytes instead of a path.
package onnx
