package camera

// Attached is a camera that this device has, as `heron camera list` tells of it. What a camera does not have is empty.
type Attached struct {
	Source string `json:"source"` // what to write into the configuration, by the most lasting name that is its alone
	Serial string `json:"serial,omitempty"`
	Path   string `json:"path,omitempty"` // where it is plugged in: 1-1.4 of USB, or its platform device
	Name   string `json:"name"`           // as its driver calls it
	Node   string `json:"node,omitempty"` // /dev/video0: may be another one tomorrow
	Driver string `json:"driver,omitempty"`
	Modes  []Mode `json:"modes,omitempty"`
	Reason string `json:"reason,omitempty"` // why the modes are not known

	Interface string `json:"-"` // 1-1.4:1.0 of USB: tells the cameras of one device apart
}

// Mode is a picture format of a camera in one size.
type Mode struct {
	Format string    `json:"format"` // as V4L2 names it: MJPG, YUYV
	Width  int       `json:"width"`
	Height int       `json:"height"`
	FPS    []float64 `json:"fps,omitempty"` // highest first
}
