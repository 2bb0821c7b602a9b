package inference

import (
	"bytes"
	"fmt"
	"math"
)

// Preprocessor writes frames into an engine's input tensor as the manifest's input says, in two passes: it resizes the frame, then
// colour, layout and normalisation or quantisation are one look into a table. It allocates when the size of the frames changes,
// never per frame. One goroutine uses it at a time.
//
// Pictures are resized in 8 bits, exactly as OpenCV's cv::resize does it, because models are trained and judged on such pictures;
// so each channel's (pixel − mean) / std (and / scale + zero point) is a table of 256 entries.
type Preprocessor struct {
	in     Input
	emit   emitter
	size   geometry
	scale  resizer
	small  []byte  // the resized picture, BGR, packed
	padded []byte  // one row of padding
	fast   Resizer // nil: there is none
	trust  trust   // in fast, for frames of this size
}

// Resizer makes dst, a packed picture of dw × dh pixels, of the sw × sh pixels that src starts with, whose rows lie stride bytes apart;
// both are 8-bit BGR. It is cv::resize with INTER_LINEAR, byte for byte. It only reads src, keeps neither, and may be called from
// several goroutines at once. It says false when it could not, whatever dst holds then.
type Resizer func(dst []byte, dw, dh int, src []byte, sw, sh, stride int) bool

// trust says whether a Resizer may be used.
type trust int

const (
	refused  trust = iota // it is for another filter, or made other bytes
	untested              // the next frame decides
	tested                // it made the same bytes as we
)

// resizer makes the rows of the resized picture, top to bottom.
type resizer interface {
	// line writes row y of the result; src starts at the first pixel of the part that is resized.
	line(dst, src []byte, stride, y int)
	// begin forgets what was kept of the last frame.
	begin()
}

// geometry is the part of the frame that is used and the part of the tensor that it fills.
type geometry struct {
	width, height  int // of the frame
	sx, sy, sw, sh int // part of the frame
	dx, dy, dw, dh int // part of the tensor
}

// NewPreprocessor checks that the tensor is the one that the manifest describes.
func NewPreprocessor(in Input, t *Tensor) (*Preprocessor, error) {
	want := in.Shape()
	if t.DType != in.DType || fmt.Sprint(t.Shape) != fmt.Sprint(want) {
		return nil, Refuse(CodeContract, "correct input in manifest.json", "input %q is %s %v; the manifest says %s %v", t.Name, t.DType, t.Shape, in.DType, want)
	}
	if n := want[1] * want[2] * want[3]; len(t.F32)+len(t.U8)+len(t.I8) != n {
		return nil, Refuse(CodeContract, "report this engine", "input %q holds %d values instead of %d", t.Name, len(t.F32)+len(t.U8)+len(t.I8), n)
	}
	p := &Preprocessor{in: in, emit: newEmitter(&in, t)}
	pad := byte(114)
	if in.Pad != nil {
		pad = byte(*in.Pad)
	}
	p.padded = bytes.Repeat([]byte{pad}, 3*in.Width)
	return p, nil
}

// ResizeWith has frames resized by r where it does what the manifest asks for and makes the same bytes; nil is none.
func (p *Preprocessor) ResizeWith(r Resizer) { p.fast, p.size = r, geometry{} }

// Run fills the tensor from a packed 8-bit BGR picture; pix is only read.
func (p *Preprocessor) Run(pix []byte, width, height, stride int) error {
	if width < 1 || height < 1 || width > maxFrame || height > maxFrame {
		return fmt.Errorf("frame of %d × %d pixels; expected 1 to %d", width, height, maxFrame)
	}
	if stride < 3*width || len(pix) < 3*width || (len(pix)-3*width)/stride < height-1 {
		return fmt.Errorf("frame of %d × %d pixels with %d bytes a row does not fit in %d bytes", width, height, stride, len(pix))
	}
	if width != p.size.width || height != p.size.height {
		p.resize(width, height)
	}
	p.shrink(pix[p.size.sy*stride+3*p.size.sx:], stride)
	p.write()
	return nil
}

// shrink resizes the part of the frame that src starts with. The first frame of a size is resized by both ways: a Resizer whose bytes
// differ (an OpenCV that was built with a vendor's primitives) is not used.
func (p *Preprocessor) shrink(src []byte, stride int) {
	g := &p.size
	fast := p.trust != refused && p.fast(p.small, g.dw, g.dh, src, g.sw, g.sh, stride)
	if fast && p.trust == tested {
		return
	}
	var theirs []byte
	if fast {
		theirs = bytes.Clone(p.small)
	}
	p.scale.begin()
	for y := range g.dh {
		p.scale.line(p.small[3*g.dw*y:][:3*g.dw], src, stride, y)
	}
	p.trust = refused
	if fast && bytes.Equal(theirs, p.small) {
		p.trust = tested
	}
}

// write fills the tensor with the resized picture.
func (p *Preprocessor) write() {
	g := &p.size
	for y := range g.dy {
		p.emit.row(y, 0, p.padded)
	}
	for y := range g.dh {
		p.emit.row(g.dy+y, g.dx, p.small[3*g.dw*y:][:3*g.dw])
		if g.dw < p.in.Width {
			p.emit.row(g.dy+y, 0, p.padded[:3*g.dx])
			p.emit.row(g.dy+y, g.dx+g.dw, p.padded[3*(g.dx+g.dw):])
		}
	}
	for y := g.dy + g.dh; y < p.in.Height; y++ {
		p.emit.row(y, 0, p.padded)
	}
}

// maxFrame bounds a frame's sides.
const maxFrame = 1 << 15

func (p *Preprocessor) resize(width, height int) {
	g := newGeometry(&p.in, width, height)
	p.size, p.small, p.trust = g, make([]byte, 3*g.dw*g.dh), refused
	switch {
	case g.sw == g.dw && g.sh == g.dh:
		p.scale = copier{}
	case p.in.Filter == "area" && g.sw >= g.dw && g.sh >= g.dh:
		p.scale = newArea(g.sw, g.sh, g.dw, g.dh)
	default:
		p.scale = newLinear(g.sw, g.sh, g.dw, g.dh, p.in.Filter == "area")
		if p.fast != nil && p.in.Filter != "area" {
			p.trust = untested
		}
	}
}

func newGeometry(in *Input, w, h int) geometry {
	g := geometry{width: w, height: h, sw: w, sh: h, dw: in.Width, dh: in.Height}
	fit := func(a, b, c int) int { return max(1, int(math.Round(float64(a)*float64(b)/float64(c)))) } // a·b/c
	wider := w*in.Height > h*in.Width
	switch in.Resize {
	case "crop": // the largest centred part of the tensor's shape
		if wider {
			g.sw = min(w, fit(h, in.Width, in.Height))
		} else {
			g.sh = min(h, fit(w, in.Height, in.Width))
		}
		g.sx, g.sy = (w-g.sw)/2, (h-g.sh)/2
	case "letterbox": // the whole frame in the middle
		if wider {
			g.dh = min(in.Height, fit(in.Width, h, w))
		} else {
			g.dw = min(in.Width, fit(in.Height, w, h))
		}
		g.dx, g.dy = (in.Width-g.dw)/2, (in.Height-g.dh)/2
	}
	return g
}

// copier serves frames that have the right size already.
type copier struct{}

func (copier) begin() {}

func (copier) line(dst, src []byte, stride, y int) { copy(dst, src[y*stride:]) }
