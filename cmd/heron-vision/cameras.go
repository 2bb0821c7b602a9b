package main

import (
	"encoding/json"
	"io"

	"heron/camera"
	"heron/camera/gstreamer"
	"heron/camera/network"
	"heron/camera/opencv"
	"heron/camera/replay"
	"heron/camera/v4l2"
)

// cameras opens every kind of source: those that name a camera otherwise than OpenCV does come first and leave the pictures to it.
func cameras() camera.Opener {
	decode := opencv.Decoder()
	pictures := replay.New(decode)
	if decode == nil {
		decode = replay.Decode
	}
	return camera.FirstOf(pictures, v4l2.New(v4l2.Roots{}, opencv.Open), gstreamer.New(gstreamer.System{}, opencv.Open),
		network.New(decode, opencv.Open), opencv.Open)
}

// printCameras answers --cameras: one JSON array of what is attached to this device.
func printCameras(out io.Writer) error {
	list, err := v4l2.Roots{}.List()
	if err != nil {
		return err
	}
	for i := range list {
		if list[i].Modes, err = v4l2.Modes(list[i].Node); err != nil {
			list[i].Reason = err.Error()
		}
	}
	all := append([]camera.Attached{}, list...)
	return json.NewEncoder(out).Encode(append(all, gstreamer.System{}.List()...))
}
