//go:build !opencv

package main

import (
	"heron/camera"
	"heron/camera/replay"
	"heron/vision"
)

// cameras without OpenCV: pictures and the test card, in pure Go.
func cameras(d *vision.Drivers) {
	d.Camera, d.CameraNames = camera.FirstOf(replay.New(nil)), []string{"replay"}
	d.Picture, d.Encode = replay.Files{}.Read, camera.EncodeJPEG
}
