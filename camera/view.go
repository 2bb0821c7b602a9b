package camera

import "time"

// View says which part of the camera's picture is looked at, and how it stands. Turning comes first, then the mirror, the region of
// interest, and the masks: ROI and Masks are shares of the picture as it then stands, 0 to 1, so that they outlive a change of size.
// The zero value is the whole picture as it comes.
type View struct {
	Rotate int    `json:"rotate,omitempty" yaml:"rotate"` // degrees clockwise: 0, 90, 180, 270
	Flip   string `json:"flip,omitempty" yaml:"flip"`     // "", horizontal, vertical, both
	ROI    *Area  `json:"roi,omitempty" yaml:"roi"`       // region of interest; nil: all
	Masks  []Area `json:"masks,omitempty" yaml:"masks"`   // made black before anything looks at the frame
}

// Area is a rectangle in shares of a picture's width and height.
type Area struct {
	X      float64 `json:"x" yaml:"x"`
	Y      float64 `json:"y" yaml:"y"`
	Width  float64 `json:"width" yaml:"width"`
	Height float64 `json:"height" yaml:"height"`
}

// Controls are a camera's own settings, where it has them (V4L2). The zero value leaves all of them to the camera.
type Controls struct {
	Exposure     time.Duration `json:"exposure,omitempty" yaml:"exposure"`           // 0: automatic
	Gain         int           `json:"gain,omitempty" yaml:"gain"`                   // in the driver's own units; 0: automatic
	WhiteBalance int           `json:"white_balance,omitempty" yaml:"white_balance"` // kelvin; 0: automatic
	Focus        int           `json:"focus,omitempty" yaml:"focus"`                 // in the driver's own units; 0: automatic
	PowerLine    int           `json:"power_line,omitempty" yaml:"power_line"`       // flicker of lamps: 50 or 60 Hz; 0: as it is
}
