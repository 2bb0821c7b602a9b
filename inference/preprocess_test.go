package inference

import (
	"fmt"
	"math"
	"testing"

	"pgregory.net/rapid"
)

func tensorFor(in Input) *Tensor {
	s := in.Shape()
	n := s[1] * s[2] * s[3]
	t := &Tensor{Name: "input", DType: in.DType, Shape: s}
	switch in.DType {
	case Uint8:
		t.U8 = make([]uint8, n)
	case Int8:
		t.I8 = make([]int8, n)
	default:
		t.F32 = make([]float32, n)
	}
	return t
}

// at reads channel c of pixel (x, y) as the tensor's layout has it.
func at(in Input, t *Tensor, x, y, c int) float64 {
	i := (y*in.Width+x)*in.Channels() + c
	if in.Layout == "NCHW" {
		i = (c*in.Height+y)*in.Width + x
	}
	switch in.DType {
	case Uint8:
		return float64(t.U8[i])
	case Int8:
		return float64(t.I8[i])
	}
	return float64(t.F32[i])
}

// expected is the contract's formula in words as plain as possible.
func expected(in Input, pixel byte, c int) float64 {
	real := float64(pixel)
	if in.Mean != nil {
		real -= in.Mean[c]
	}
	if in.Std != nil {
		real /= in.Std[c]
	}
	if in.DType == Float32 {
		return float64(float32(real))
	}
	least, most := 0.0, 255.0
	if in.DType == Int8 {
		least, most = -128, 127
	}
	if in.Quant != nil {
		real = math.RoundToEven(real/in.Quant.Scale) + float64(in.Quant.ZeroPoint)
	}
	return min(max(real, least), most)
}

func inputs() *rapid.Generator[Input] {
	return rapid.Custom(func(t *rapid.T) Input {
		in := Input{Width: rapid.IntRange(1, 24).Draw(t, "w"), Height: rapid.IntRange(1, 24).Draw(t, "h"),
			Layout: rapid.SampledFrom([]string{"NHWC", "NCHW"}).Draw(t, "layout"), DType: rapid.SampledFrom([]DType{Float32, Uint8, Int8}).Draw(t, "dtype"),
			Color: rapid.SampledFrom([]string{"", "RGB", "BGR", "GRAY"}).Draw(t, "color"), Resize: rapid.SampledFrom([]string{"", "stretch", "crop", "letterbox"}).Draw(t, "resize"),
			Filter: rapid.SampledFrom([]string{"", "bilinear", "area"}).Draw(t, "filter")}
		if rapid.Bool().Draw(t, "normal") {
			in.Mean = rapid.SliceOfN(rapid.Float64Range(0, 255), in.Channels(), in.Channels()).Draw(t, "mean")
			in.Std = rapid.SliceOfN(rapid.Float64Range(.5, 255), in.Channels(), in.Channels()).Draw(t, "std")
		}
		if in.DType != Float32 && (in.DType == Int8 || in.Mean != nil || rapid.Bool().Draw(t, "quantised")) {
			in.Quant = &Quant{rapid.Float64Range(.001, 2).Draw(t, "scale"), rapid.IntRange(0, 127).Draw(t, "zero")}
		}
		return in
	})
}

// TestConstantPicture: whatever the sizes and the way of resizing, one colour stays that colour, and letterbox adds the padding only.
func TestConstantPicture(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := inputs().Draw(t, "in")
		k := &checker{}
		if k.input("input", &in); k.err != nil {
			t.Fatal(k.err)
		}
		w, h, extra := rapid.IntRange(1, 60).Draw(t, "fw"), rapid.IntRange(1, 60).Draw(t, "fh"), rapid.IntRange(0, 5).Draw(t, "extra")
		bgr := [3]byte{rapid.Byte().Draw(t, "b"), rapid.Byte().Draw(t, "g"), rapid.Byte().Draw(t, "r")}
		stride := 3*w + extra
		pix := make([]byte, (h-1)*stride+3*w) // as short as a frame may be
		for y := range h {
			for x := range w {
				copy(pix[y*stride+3*x:], bgr[:])
			}
		}
		dst := tensorFor(in)
		p, err := NewPreprocessor(in, dst)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Run(pix, w, h, stride); err != nil {
			t.Fatal(err)
		}
		g := p.size
		for y := range in.Height {
			for x := range in.Width {
				inside := x >= g.dx && x < g.dx+g.dw && y >= g.dy && y < g.dy+g.dh
				for c := range in.Channels() {
					if want, got := expected(in, colour(in, bgr, inside, c), c), at(in, dst, x, y, c); want != got {
						t.Fatalf("(%d,%d) channel %d is %v, want %v", x, y, c, got, want)
					}
				}
			}
		}
	})
}

func colour(in Input, bgr [3]byte, inside bool, c int) byte {
	if !inside {
		bgr = [3]byte{114, 114, 114}
	}
	switch in.Color {
	case "GRAY":
		return byte((int(bgr[0])*3735 + int(bgr[1])*19235 + int(bgr[2])*9798 + 1<<14) >> 15)
	case "BGR":
		return bgr[c]
	}
	return bgr[2-c]
}

// TestGeometry: which part of the frame lands where.
func TestGeometry(t *testing.T) {
	for _, c := range []struct {
		resize     string
		w, h       int
		frame, out [4]int // x, y, width, height
	}{
		{"stretch", 640, 480, [4]int{0, 0, 640, 480}, [4]int{0, 0, 224, 224}},
		{"crop", 640, 480, [4]int{80, 0, 480, 480}, [4]int{0, 0, 224, 224}},
		{"crop", 480, 641, [4]int{0, 80, 480, 480}, [4]int{0, 0, 224, 224}},
		{"crop", 1, 100, [4]int{0, 49, 1, 1}, [4]int{0, 0, 224, 224}},
		{"letterbox", 640, 480, [4]int{0, 0, 640, 480}, [4]int{0, 28, 224, 168}},
		{"letterbox", 480, 640, [4]int{0, 0, 480, 640}, [4]int{28, 0, 168, 224}},
		{"letterbox", 10000, 1, [4]int{0, 0, 10000, 1}, [4]int{0, 111, 224, 1}},
	} {
		g := newGeometry(&Input{Width: 224, Height: 224, Resize: c.resize}, c.w, c.h)
		if got := [4]int{g.sx, g.sy, g.sw, g.sh}; got != c.frame {
			t.Errorf("%s %d×%d takes %v, want %v", c.resize, c.w, c.h, got, c.frame)
		}
		if got := [4]int{g.dx, g.dy, g.dw, g.dh}; got != c.out {
			t.Errorf("%s %d×%d fills %v, want %v", c.resize, c.w, c.h, got, c.out)
		}
	}
}

// TestEveryWayIsOneResize: layouts, colours and types differ from the plain bytes only as the formula says; strides and sizes may change from frame to frame.
func TestEveryWayIsOneResize(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := inputs().Draw(t, "in")
		in.Color = "RGB"
		plain := Input{Width: in.Width, Height: in.Height, Layout: "NHWC", DType: Uint8, Color: "BGR", Resize: in.Resize, Filter: in.Filter}
		if in.Mean != nil && len(in.Mean) != 3 {
			in.Mean, in.Std = []float64{1, 2, 3}, []float64{3, 2, 1}
		}
		dst, bytes := tensorFor(in), tensorFor(plain)
		p, err := NewPreprocessor(in, dst)
		if err != nil {
			t.Fatal(err)
		}
		q, err := NewPreprocessor(plain, bytes)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			w, h := rapid.IntRange(1, 50).Draw(t, "fw"), rapid.IntRange(1, 50).Draw(t, "fh")
			pix := noise(w, h)
			if p.Run(pix, w, h, 3*w) != nil || q.Run(pix, w, h, 3*w) != nil {
				t.Fatal("refused")
			}
			for y := range in.Height {
				for x := range in.Width {
					for c := range 3 {
						pixel := byte(at(plain, bytes, x, y, 2-c))
						if want, got := expected(in, pixel, c), at(in, dst, x, y, c); got != want {
							t.Fatalf("(%d,%d) channel %d is %v, want %v", x, y, c, got, want)
						}
					}
				}
			}
		}
	})
}

func TestPreprocessorRefusesFrames(t *testing.T) {
	in := Input{Width: 4, Height: 4, Layout: "NHWC", DType: Uint8}
	p, err := NewPreprocessor(in, tensorFor(in))
	if err != nil {
		t.Fatal(err)
	}
	pix := make([]byte, 48)
	for _, c := range [][3]int{{0, 4, 12}, {4, 0, 12}, {-1, 4, 12}, {4, 4, 11}, {4, 5, 12}, {4, 4, 13}, {4, 4, math.MaxInt}, {40000, 1, 120000}, {5, 4, 15}} {
		if err := p.Run(pix, c[0], c[1], c[2]); err == nil {
			t.Errorf("%v accepted", c)
		}
	}
	if err := p.Run(pix, 4, 4, 12); err != nil {
		t.Error(err)
	}
}

func TestPreprocessorRefusesTensors(t *testing.T) {
	in := Input{Width: 4, Height: 2, Layout: "NHWC", DType: Uint8}
	for _, bad := range []*Tensor{
		{DType: Float32, Shape: []int{1, 2, 4, 3}, F32: make([]float32, 24)},
		{DType: Uint8, Shape: []int{1, 3, 2, 4}, U8: make([]uint8, 24)},
		{DType: Uint8, Shape: []int{1, 2, 4, 3}, U8: make([]uint8, 23)},
	} {
		_, err := NewPreprocessor(in, bad)
		wantRefusal(t, err, CodeContract)
	}
}

func TestPreprocessorDoesNotAllocate(t *testing.T) {
	for _, filter := range []string{"bilinear", "area"} {
		for _, resize := range []string{"stretch", "letterbox"} {
			in := Input{Width: 32, Height: 32, Layout: "NCHW", DType: Float32, Filter: filter, Resize: resize}
			p, err := NewPreprocessor(in, tensorFor(in))
			if err != nil {
				t.Fatal(err)
			}
			pix := noise(100, 75)
			if n := testing.AllocsPerRun(10, func() {
				if err := p.Run(pix, 100, 75, 300); err != nil {
					t.Fatal(err)
				}
			}); n != 0 {
				t.Errorf("%s %s: %v allocations a frame", filter, resize, n)
			}
		}
	}
}

func BenchmarkPreprocess(b *testing.B) {
	pix := noise(640, 480)
	for _, filter := range []string{"bilinear", "area"} {
		for _, t := range []DType{Float32, Uint8} {
			in := Input{Width: 224, Height: 224, Layout: "NCHW", DType: t, Filter: filter}
			b.Run(fmt.Sprintf("%s/%s", filter, t), func(b *testing.B) {
				p, err := NewPreprocessor(in, tensorFor(in))
				if err != nil {
					b.Fatal(err)
				}
				for b.Loop() {
					if err := p.Run(pix, 640, 480, 1920); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
