package camera

import (
	"fmt"
	"time"
)

// View says which part of the camera's picture is looked at, and how it stands. Turning comes first, then the mirror, the region of
// interest, and the masks: ROI and Masks are both shares of the picture as it then stands, 0 to 1, so that they outlive a change of
// size and a mask stays on its place when the region changes. The zero value is the whole picture as it comes.
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

// maxMasks bounds what is painted on every frame.
const maxMasks = 32

// Validate says what is wrong as "key: what", the key as in the configuration (masks[1].width); nil is good.
func (v *View) Validate() error {
	switch v.Rotate {
	case 0, 90, 180, 270:
	default:
		return fmt.Errorf("rotate: %d, expected 0, 90, 180 or 270 (degrees clockwise)", v.Rotate)
	}
	switch v.Flip {
	case "", "horizontal", "vertical", "both":
	default:
		return fmt.Errorf("flip: %q, expected horizontal, vertical or both", v.Flip)
	}
	if v.ROI != nil {
		if err := v.ROI.validate("roi"); err != nil {
			return err
		}
	}
	if len(v.Masks) > maxMasks {
		return fmt.Errorf("masks: %d of them, expected at most %d", len(v.Masks), maxMasks)
	}
	for i, m := range v.Masks {
		if err := m.validate(fmt.Sprintf("masks[%d]", i)); err != nil {
			return err
		}
	}
	return nil
}

// validate takes only what lies in the picture; the comparisons are so written that they refuse NaN too.
func (a Area) validate(at string) error {
	const slack = 1e-6 // 0.7 + 0.3 may be a little more than 1
	switch {
	case !(a.X >= 0 && a.X < 1):
		return fmt.Errorf("%s.x: %v, expected a share of the picture's width, 0 to below 1", at, a.X)
	case !(a.Y >= 0 && a.Y < 1):
		return fmt.Errorf("%s.y: %v, expected a share of the picture's height, 0 to below 1", at, a.Y)
	case !(a.Width > 0 && a.X+a.Width <= 1+slack):
		return fmt.Errorf("%s.width: %v, expected a share of the picture's width above 0 that ends within the picture (x + width at most 1)", at, a.Width)
	case !(a.Height > 0 && a.Y+a.Height <= 1+slack):
		return fmt.Errorf("%s.height: %v, expected a share of the picture's height above 0 that ends within the picture (y + height at most 1)", at, a.Height)
	}
	return nil
}

// Validate says what is wrong as "key: what"; nil is good.
func (c *Controls) Validate() error {
	switch {
	case c.Exposure < 0 || c.Exposure > 10*time.Second || c.Exposure > 0 && c.Exposure < 100*time.Microsecond:
		return fmt.Errorf("exposure: %v, expected 100µs to 10s, or 0 for automatic", c.Exposure)
	case c.Gain < 0:
		return fmt.Errorf("gain: %d, expected a positive number in the driver's units, or 0 for automatic", c.Gain)
	case c.WhiteBalance != 0 && (c.WhiteBalance < 1000 || c.WhiteBalance > 20000):
		return fmt.Errorf("white_balance: %d, expected 1000 to 20000 (kelvin), or 0 for automatic", c.WhiteBalance)
	case c.Focus < 0:
		return fmt.Errorf("focus: %d, expected a positive number in the driver's units, or 0 for automatic", c.Focus)
	case c.PowerLine != 0 && c.PowerLine != 50 && c.PowerLine != 60:
		return fmt.Errorf("power_line: %d, expected 50 or 60 (Hz), or 0 to leave it", c.PowerLine)
	}
	return nil
}
