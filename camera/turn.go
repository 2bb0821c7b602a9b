package camera

import "math"

// viewer applies a View to frames. What is kept between frames is one spare buffer and where the masks lie: nothing is allocated in steady state.
type viewer struct {
	View
	needed bool // else frames pass untouched
	spare  []byte
	masked []rect // of frames of size; frames on their way share it, so another size has one of its own
	size   [2]int
}

func newViewer(v View) viewer {
	return viewer{View: v, needed: v.Rotate != 0 || v.Flip != "" || v.ROI != nil || len(v.Masks) > 0}
}

// apply makes f what the view shows of it. f has passed check.
func (v *viewer) apply(f *Frame) {
	w, h := f.Width, f.Height
	if v.Rotate == 90 || v.Rotate == 270 {
		w, h = h, w
	}
	roi := rect{0, 0, w, h}
	if v.ROI != nil {
		roi = v.ROI.pixels(w, h)
	}
	switch {
	case v.Rotate != 0 || v.Flip != "":
		v.turn(f, w, h, roi)
	case v.ROI != nil:
		crop(f, roi)
	}
	if len(v.Masks) == 0 {
		return
	}
	if size := [2]int{w, h}; v.size != size {
		v.size, v.masked = size, v.hidden(w, h, roi)
	}
	f.masked = v.masked
	for _, r := range f.masked {
		f.blacken(r)
	}
}

// hidden are the masks of a picture of w×h as they lie in the region that is shown of it.
func (v *viewer) hidden(w, h int, roi rect) (masked []rect) {
	for i := range v.Masks {
		r := v.Masks[i].pixels(w, h)
		r = rect{max(r.x0, roi.x0) - roi.x0, max(r.y0, roi.y0) - roi.y0, min(r.x1, roi.x1) - roi.x0, min(r.y1, roi.y1) - roi.y0}
		if r.x0 < r.x1 && r.y0 < r.y1 {
			masked = append(masked, r)
		}
	}
	return masked
}

// Hide says of f, a picture to which v was applied before, where its masks lie: nothing is judged there. Coding smears a mask's border: it is
// taken to be wider by a block of JPEG.
func (v *View) Hide(f *Frame) {
	const block = 16
	roi := Area{Width: 1, Height: 1}
	if v.ROI != nil {
		roi = *v.ROI
	}
	f.masked = nil
	for _, m := range v.Masks {
		r := rect{
			int((m.X-roi.X)/roi.Width*float64(f.Width)) - block, int((m.Y-roi.Y)/roi.Height*float64(f.Height)) - block,
			int((m.X+m.Width-roi.X)/roi.Width*float64(f.Width)) + block, int((m.Y+m.Height-roi.Y)/roi.Height*float64(f.Height)) + block,
		}
		f.masked = append(f.masked, r)
	}
}

// rect is a rectangle of pixels, x1 and y1 outside.
type rect struct{ x0, y0, x1, y1 int }

// pixels of a picture that lie in a, in whole or in part; at least one.
func (a *Area) pixels(w, h int) rect {
	const dust = 1e-6 // what a decimal fraction is off, so that it takes no further pixel in
	span := func(from, length float64, n int) (int, int) {
		low := min(int(from*float64(n)+dust), n-1)
		return low, min(max(int(math.Ceil((from+length)*float64(n)-dust)), low+1), n)
	}
	var r rect
	r.x0, r.x1 = span(a.X, a.Width, w)
	r.y0, r.y1 = span(a.Y, a.Height, h)
	return r
}

// crop moves the region's rows to the front, in place.
func crop(f *Frame, r rect) {
	n := 3 * (r.x1 - r.x0)
	for y := r.y0; y < r.y1; y++ {
		at := y*f.Stride + 3*r.x0
		copy(f.Pix[(y-r.y0)*n:][:n], f.Pix[at:at+n])
	}
	f.Width, f.Height, f.Stride = r.x1-r.x0, r.y1-r.y0, n
	f.Pix = f.Pix[:f.Stride*f.Height]
}

// turn writes the region of the turned and mirrored picture, which is w×h, into the spare buffer and swaps the two. The spare one
// can hold the whole picture, so that the driver finds room for the next.
func (v *viewer) turn(f *Frame, w, h int, r rect) {
	whole := max(3*w*h, cap(f.Pix))
	if cap(v.spare) < 3*w*h {
		v.spare = make([]byte, whole)
	}
	// Where the pixel (0,0) of the new picture lies in the old one, and how far apart its neighbours across and down are, in bytes.
	at, dx, dy := v.steps(f)
	if v.Flip == "horizontal" || v.Flip == "both" {
		at, dx = at+(w-1)*dx, -dx
	}
	if v.Flip == "vertical" || v.Flip == "both" {
		at, dy = at+(h-1)*dy, -dy
	}
	at += r.x0*dx + r.y0*dy
	rw, rh := r.x1-r.x0, r.y1-r.y0
	dst := v.spare[:3*rw*rh]
	gather(dst, f.Pix, rw, rh, at, dx, dy)
	v.spare, f.Pix = f.Pix[:0], dst
	f.Width, f.Height, f.Stride = rw, rh, 3*rw
}

func (v *viewer) steps(f *Frame) (at, dx, dy int) {
	right, bottom := 3*(f.Width-1), f.Stride*(f.Height-1)
	switch v.Rotate {
	case 90:
		return bottom, -f.Stride, 3
	case 180:
		return right + bottom, -3, -f.Stride
	case 270:
		return right, f.Stride, -3
	}
	return 0, 3, f.Stride
}

// gather copies w×h pixels that lie dx and dy bytes apart. It goes in tiles: across and down both stay in the processor's cache.
func gather(dst, src []byte, w, h, at, dx, dy int) {
	if dx == 3 { // rows as they are
		for y := range h {
			copy(dst[3*w*y:][:3*w], src[at+y*dy:])
		}
		return
	}
	const tile = 32
	for y0 := 0; y0 < h; y0 += tile {
		y1 := min(y0+tile, h)
		for x0 := 0; x0 < w; x0 += tile {
			x1 := min(x0+tile, w)
			for y := y0; y < y1; y++ {
				s := at + y*dy + x0*dx
				for out := dst[3*(y*w+x0) : 3*(y*w+x1)]; len(out) >= 3; out = out[3:] {
					p := src[s : s+3 : s+3]
					out[0], out[1], out[2] = p[0], p[1], p[2]
					s += dx
				}
			}
		}
	}
}

// blacken paints r.
func (f *Frame) blacken(r rect) {
	for y := r.y0; y < r.y1; y++ {
		clear(f.Pix[y*f.Stride+3*r.x0 : y*f.Stride+3*r.x1])
	}
}
