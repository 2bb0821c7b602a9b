// Package onnx runs ONNX models on the CPU with ONNX Runtime, whose library is opened at run time.
//
// Before the runtime sees a file, Heron reads it itself (wire.go, graph.go) and compares it with the manifest (contract.go):
// what one runtime refuses the next one takes, and ONNX Runtime reads a tensor's data from any file a model names
// when it is given bytes instead of a path.
package onnx
