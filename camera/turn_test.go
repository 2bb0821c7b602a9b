package camera

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
)

// numbered is a w×h frame whose pixels carry their place: blue x, green y, red 7. Its rows are longer than they need to be.
func numbered(w, h int) *Frame {
	f := &Frame{Width: w, Height: h, Stride: 3*w + 5}
	f.Pix = make([]byte, f.Stride*h)
	for y := range h {
		for x := range w {
			copy(f.Pix[y*f.Stride+3*x:], []byte{byte(x), byte(y), 7})
		}
	}
	return f
}

// slow is a View by its definition, one pixel after the other.
func slow(v View, f *Frame) (pix []byte, w, h int) {
	w, h = f.Width, f.Height
	if v.Rotate%180 != 0 {
		w, h = h, w
	}
	at := func(x, y int) []byte { // of the turned and mirrored picture
		if v.Flip == "horizontal" || v.Flip == "both" {
			x = w - 1 - x
		}
		if v.Flip == "vertical" || v.Flip == "both" {
			y = h - 1 - y
		}
		switch v.Rotate {
		case 90:
			x, y = y, w-1-x
		case 180:
			x, y = w-1-x, h-1-y
		case 270:
			x, y = h-1-y, x
		}
		return f.Pix[y*f.Stride+3*x:][:3]
	}
	inside := func(a Area, x, y int) bool {
		const dust = 1e-6
		fx, fy := float64(x), float64(y)
		return fx+1 > a.X*float64(w)+dust && fx < (a.X+a.Width)*float64(w)-dust && fy+1 > a.Y*float64(h)+dust && fy < (a.Y+a.Height)*float64(h)-dust
	}
	roi := Area{0, 0, 1, 1}
	if v.ROI != nil {
		roi = *v.ROI
	}
	rows := 0
	for y := range h {
		n := len(pix)
		for x := range w {
			if !inside(roi, x, y) {
				continue
			}
			p := at(x, y)
			for _, m := range v.Masks {
				if inside(m, x, y) {
					p = []byte{0, 0, 0}
				}
			}
			pix = append(pix, p...)
		}
		if len(pix) > n {
			rows++
		}
	}
	return pix, len(pix) / 3 / rows, rows
}

func TestViewIsWhatItSays(t *testing.T) {
	areas := []*Area{nil, {0, 0, 1, 1}, {0.25, 0.5, 0.5, 0.5}, {0.1, 0.3, 0.7, 0.7}, {0.99, 0.99, 0.01, 0.01}}
	masks := [][]Area{nil, {{0, 0, 0.5, 0.5}}, {{0.2, 0.1, 0.3, 0.2}, {0.6, 0.6, 0.4, 0.4}}}
	for _, size := range [][2]int{{40, 30}, {33, 70}, {1, 1}, {5, 1}, {100, 7}} {
		for _, rotate := range []int{0, 90, 180, 270} {
			for _, flip := range []string{"", "horizontal", "vertical", "both"} {
				for _, roi := range areas {
					for _, m := range masks {
						v := View{rotate, flip, roi, m}
						if err := v.Validate(); err != nil {
							t.Fatal(err)
						}
						want, w, h := slow(v, numbered(size[0], size[1]))
						got, viewer := numbered(size[0], size[1]), newViewer(v)
						if viewer.needed {
							viewer.apply(got)
						}
						if err := got.check(); err != nil || got.Width != w || got.Height != h {
							t.Fatalf("%v %+v: %d×%d, want %d×%d, %v", size, v, got.Width, got.Height, w, h, err)
						}
						for y := range h {
							if !bytes.Equal(got.Pix[y*got.Stride:][:3*w], want[3*w*y:][:3*w]) {
								t.Fatalf("%v %+v: row %d is %v, want %v", size, v, y, got.Pix[y*got.Stride:][:3*w], want[3*w*y:][:3*w])
							}
						}
					}
				}
			}
		}
	}
}

func TestViewValidates(t *testing.T) {
	nan := 0.0
	nan /= nan
	for want, v := range map[string]View{
		"rotate: 45":         {Rotate: 45},
		"rotate: -90":        {Rotate: -90},
		`flip: "up"`:         {Flip: "up"},
		"roi.width: 0,":      {ROI: &Area{0, 0, 0, 1}},
		"roi.height: -1":     {ROI: &Area{0, 0, 1, -1}},
		"roi.x: 1,":          {ROI: &Area{1, 0, 1, 1}},
		"roi.width: 0.6":     {ROI: &Area{0.5, 0, 0.6, 1}},
		"roi.y: NaN":         {ROI: &Area{0, nan, 1, 1}},
		"masks[1].height: N": {Masks: []Area{{0, 0, 1, 1}, {0, 0, 1, nan}}},
		"masks: 33":          {Masks: make([]Area, 33)},
	} {
		if err := v.Validate(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%+v: %v, want %s…", v, err, want)
		}
		if _, err := New(Config{Options: Options{Name: "front", Source: "x:", View: v}, Open: func(context.Context, Options) (Device, error) { return nil, nil }}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New takes %+v: %v", v, err)
		}
	}
	if err := (&View{ROI: &Area{0.7, 0.1, 0.3, 0.9}}).Validate(); err != nil {
		t.Error(err)
	}
}

// What the consumer and the snapshot see is the view, whatever the driver, and nothing is allocated for it.
func TestSourceShowsTheView(t *testing.T) {
	for _, lossless := range []bool{true, false} {
		v := View{Rotate: 90, ROI: &Area{0, 0.5, 1, 0.5}, Masks: []Area{{0, 0, 1, 0.75}}}
		d := &fake{lossless: lossless}
		ctx := t.Context()
		s, err := New(Config{Options: Options{Name: "cam", Source: "fake:", View: v}, Open: func(context.Context, Options) (Device, error) { return d, nil }})
		if err != nil {
			t.Fatal(err)
		}
		allocs := testing.AllocsPerRun(100, func() {
			if err := s.one(ctx, d, lossless); err != nil {
				t.Fatal(err)
			}
			f, err := s.Next(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if f.Width != 2 || f.Height != 2 || f.Pix[0] != 0 {
				t.Fatalf("%+v", f)
			}
			s.Release(f)
		})
		if allocs > 0 {
			t.Errorf("%v allocations per frame", allocs)
		}
		var shot Frame
		if !s.Snapshot(&shot) || shot.Width != 2 || shot.Height != 2 || s.Stats().Width != 2 {
			t.Errorf("%+v, %+v", shot, s.Stats())
		}
	}
}

// A change of size under a view: each frame is whole and of its own size.
func TestFault_V5_ViewFollowsASizeChange(t *testing.T) {
	v := newViewer(View{Rotate: 270, ROI: &Area{0.5, 0, 0.5, 1}})
	f := &Frame{}
	for i := range 20 {
		size := [][2]int{{640, 480}, {160, 120}, {33, 7}, {800, 600}}[i/2%4]
		src := numbered(size[0], size[1])
		*f = Frame{Pix: append(f.Pix[:0], src.Pix...), Width: src.Width, Height: src.Height, Stride: src.Stride}
		want, w, h := slow(v.View, src)
		v.apply(f)
		if f.Width != w || f.Height != h || !bytes.Equal(f.Pix, want) {
			t.Fatalf("frame %d: %d×%d", i, f.Width, f.Height)
		}
	}
}

func BenchmarkView(b *testing.B) {
	half := &Area{0.25, 0.25, 0.5, 0.5}
	for _, v := range []View{{Rotate: 90}, {Rotate: 180}, {Flip: "horizontal"}, {Flip: "vertical"}, {ROI: half}, {Rotate: 90, ROI: half}, {Masks: []Area{*half}}} {
		name := fmt.Sprintf("rotate=%d,flip=%s,roi=%v,masks=%d", v.Rotate, v.Flip, v.ROI != nil, len(v.Masks))
		b.Run(name, func(b *testing.B) {
			viewer := newViewer(v)
			pix, spare := make([]byte, 640*480*3), make([]byte, 640*480*3)
			viewer.spare = spare
			f := &Frame{Pix: pix}
			b.ReportAllocs()
			for b.Loop() {
				*f = Frame{Pix: f.Pix[:640*480*3], Width: 640, Height: 480, Stride: 1920}
				viewer.apply(f)
			}
		})
	}
}
