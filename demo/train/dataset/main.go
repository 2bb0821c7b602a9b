// Command dataset writes pictures of the bottling line for demo/train/train.py: each drawn from its own seed, sent through JPEG as the
// demo's camera sends it, and resized to the model's input by Heron's own preprocessing.
//
//	go run ./demo/train/dataset -train -from 1000000 -n 14000 -out /tmp/bottles/train
//
// writes train.rgb (n pictures of 96 × 96 × 3 bytes, RGB) and train.cls (n bytes, the class).
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"image"
	"image/jpeg"
	"image/png"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"golang.org/x/image/draw"

	"heron/demo/line"
	"heron/inference"
)

// The model's input, as demo/bundle/manifest.json has it.
const (
	side   = 96
	filter = "area"
)

func main() {
	from := flag.Uint64("from", 0, "first seed")
	n := flag.Int("n", 1000, "number of pictures; classes take turns")
	train := flag.Bool("train", false, "draw for training: pairs from one seed, three of four pairs ok and scratched, which are hard to tell apart")
	folder := flag.String("png", "", "write the pictures themselves into this folder too, half size, without JPEG: golden pictures")
	out := flag.String("out", "dataset", "where to write, without .rgb and .cls")
	flag.Parse()
	if err := write(job{*from, *n, *train, *folder, *out}); err != nil {
		fmt.Fprintln(os.Stderr, "dataset:", err)
		os.Exit(1)
	}
}

// job is what the command line asks for.
type job struct {
	from  uint64
	n     int
	train bool
	png   string
	out   string
}

func write(j job) error {
	pix, cls := make([]byte, j.n*side*side*3), make([]byte, j.n)
	errs := make([]error, runtime.GOMAXPROCS(0))
	var workers sync.WaitGroup
	for w := range errs {
		workers.Go(func() {
			for i := w; i < j.n && errs[w] == nil; i += len(errs) {
				cls[i], errs[w] = j.picture(i, pix[i*side*side*3:][:side*side*3])
			}
		})
	}
	workers.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if err := os.WriteFile(j.out+".rgb", pix, 0o644); err != nil {
		return err
	}
	return os.WriteFile(j.out+".cls", cls, 0o644)
}

// plan is what picture i shows: each class in turn from a seed of its own, or for training a pair of classes from each seed.
func (j job) plan(i int) (seed uint64, class line.Class) {
	if !j.train {
		return j.from + uint64(i), line.Classes()[i%4]
	}
	pairs := [8]line.Class{line.OK, line.Scratched, line.OK, line.Scratched, line.OK, line.Scratched, line.NoLabel, line.Empty}
	return j.from + uint64(i/2), pairs[i%8]
}

// picture draws picture i, takes it through what happens to it on the way to the model, and writes the model's pixels into dst.
func (j job) picture(i int, dst []byte) (class byte, err error) {
	seed, c := j.plan(i)
	p := line.NewPicture()
	line.Draw(seed, c, p)
	var seen image.Image
	if j.png != "" {
		seen, err = golden(p, filepath.Join(j.png, fmt.Sprintf("%d-%v.png", i, c)))
	} else {
		seen, err = throughJPEG(p, seed)
	}
	if err == nil {
		err = resize(seen, dst)
	}
	return byte(c), err
}

// throughJPEG is the picture as it arrives, at a quality near the camera's.
func throughJPEG(p image.Image, seed uint64) (image.Image, error) {
	var b bytes.Buffer
	quality := 75 + rand.New(rand.NewPCG(seed, 9)).IntN(20)
	if err := jpeg.Encode(&b, p, &jpeg.Options{Quality: quality}); err != nil {
		return nil, err
	}
	return jpeg.Decode(&b)
}

// golden writes the picture at half its size and returns that.
func golden(p *image.RGBA, path string) (image.Image, error) {
	half := image.NewRGBA(image.Rect(0, 0, line.Width/2, line.Height/2))
	draw.ApproxBiLinear.Scale(half, half.Bounds(), p, p.Bounds(), draw.Src, nil)
	var b bytes.Buffer
	if err := png.Encode(&b, half); err != nil {
		return nil, err
	}
	return half, os.WriteFile(path, b.Bytes(), 0o644)
}

// resize is Heron's own preprocessing, with an input that keeps pixels as they are.
func resize(img image.Image, dst []byte) error {
	in := inference.Input{Width: side, Height: side, Layout: "NHWC", DType: inference.Float32, Color: "RGB", Filter: filter}
	t := &inference.Tensor{DType: inference.Float32, Shape: in.Shape(), F32: make([]float32, side*side*3)}
	pre, err := inference.NewPreprocessor(in, t)
	if err != nil {
		return err
	}
	w, h := img.Bounds().Dx(), img.Bounds().Dy()
	bgr := make([]byte, 0, 3*w*h)
	for y := range h {
		for x := range w {
			r, g, b, _ := img.At(x, y).RGBA()
			bgr = append(bgr, byte(b>>8), byte(g>>8), byte(r>>8))
		}
	}
	if err := pre.Run(bgr, w, h, 3*w); err != nil {
		return err
	}
	for i, v := range t.F32 {
		dst[i] = byte(v)
	}
	return nil
}
