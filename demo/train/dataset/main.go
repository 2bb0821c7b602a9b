// Command dataset writes pictures of the bottling line for demo/train/train.py: each drawn from its own seed, sent through JPEG as the
// demo's camera sends it, and resized to the model's input as Heron resizes (bilinear, half-pixel centres).
//
//	go run ./demo/train/dataset -from 1000000 -n 8000 -out /tmp/bottles/train
//
// writes train.rgb (n pictures of 96 × 96 × 3 bytes, RGB) and train.cls (n bytes, the class).
package main

import (
	"bytes"
	"flag"
	"fmt"
	"image"
	"image/jpeg"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"

	"heron/demo/line"
)

const side = 96

func main() {
	from := flag.Uint64("from", 0, "first seed")
	n := flag.Int("n", 1000, "number of pictures; classes take turns")
	out := flag.String("out", "dataset", "where to write, without .rgb and .cls")
	flag.Parse()
	if err := write(*from, *n, *out); err != nil {
		fmt.Fprintln(os.Stderr, "dataset:", err)
		os.Exit(1)
	}
}

func write(from uint64, n int, out string) error {
	pix, cls := make([]byte, n*side*side*3), make([]byte, n)
	errs := make([]error, runtime.GOMAXPROCS(0))
	var workers sync.WaitGroup
	for w := range errs {
		workers.Go(func() {
			p := line.NewPicture()
			for i := w; i < n && errs[w] == nil; i += len(errs) {
				class := line.Classes()[i%4]
				cls[i] = byte(class)
				line.Draw(from+uint64(i), class, p)
				errs[w] = sample(p, from+uint64(i), pix[i*side*side*3:][:side*side*3])
			}
		})
	}
	workers.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	if err := os.WriteFile(out+".rgb", pix, 0o644); err != nil {
		return err
	}
	return os.WriteFile(out+".cls", cls, 0o644)
}

// sample sends p through JPEG, at a quality near the camera's, and resizes it into dst.
func sample(p *image.RGBA, seed uint64, dst []byte) error {
	var b bytes.Buffer
	quality := 75 + rand.New(rand.NewPCG(seed, 9)).IntN(20)
	if err := jpeg.Encode(&b, p, &jpeg.Options{Quality: quality}); err != nil {
		return err
	}
	img, err := jpeg.Decode(&b)
	if err != nil {
		return err
	}
	resize(img, dst)
	return nil
}

// resize is bilinear with half-pixel centres and no smoothing, as OpenCV's INTER_LINEAR.
func resize(img image.Image, dst []byte) {
	w, h := img.Bounds().Dx(), img.Bounds().Dy()
	for y := range side {
		y0, fy := place(y, h)
		for x := range side {
			x0, fx := place(x, w)
			var sum [3]float64
			for _, c := range [4]struct {
				x, y int
				k    float64
			}{{x0, y0, (1 - fx) * (1 - fy)}, {x0 + 1, y0, fx * (1 - fy)}, {x0, y0 + 1, (1 - fx) * fy}, {x0 + 1, y0 + 1, fx * fy}} {
				r, g, b, _ := img.At(min(c.x, w-1), min(c.y, h-1)).RGBA()
				for i, v := range [3]uint32{r, g, b} {
					sum[i] += c.k * float64(v>>8)
				}
			}
			for i, v := range sum {
				dst[(y*side+x)*3+i] = byte(v + .5)
			}
		}
	}
}

// place is where output pixel i of side lies in an input of n pixels: the pixel before it, and the share of the one after.
func place(i, n int) (int, float64) {
	at := max((float64(i)+.5)*float64(n)/side-.5, 0)
	return int(at), at - float64(int(at))
}
