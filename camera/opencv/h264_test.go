//go:build opencv

package opencv

import (
	"bytes"
	"math/bits"

	"heron/camera"
)

// stream writes H.264's bits.
type stream struct {
	b    []byte
	free int // bits of the last byte
}

func (s *stream) u(n int, v uint32) {
	for n--; n >= 0; n-- {
		if s.free == 0 {
			s.b, s.free = append(s.b, 0), 8
		}
		s.free--
		s.b[len(s.b)-1] |= byte(v>>n&1) << s.free
	}
}

// ue writes numbers in Exp-Golomb code.
func (s *stream) ue(all ...uint32) {
	for _, v := range all {
		n := bits.Len32(v + 1)
		s.u(n-1, 0)
		s.u(n, v+1)
	}
}

// nal ends the stream and makes a unit of it: none of its bytes may look like a start code.
func (s *stream) nal(header byte) []byte {
	s.u(1, 1)
	out, zeros := []byte{header}, 0
	for _, b := range s.b {
		if zeros >= 2 && b <= 3 {
			out, zeros = append(out, 3), 0
		}
		if zeros++; b != 0 {
			zeros = 0
		}
		out = append(out, b)
	}
	return out
}

var startCode = []byte{0, 0, 0, 1}

// greyH264 is a picture of one grey that can be decoded by itself, baseline profile, its macroblocks as they are (I_PCM), in so many
// slices; w and h are multiples of 16. It is number i of its stream.
func greyH264(w, h, slices, i int, grey byte) []byte {
	var sps, pps stream
	sps.u(24, 66<<16|40)                   // profile, constraints, level
	sps.ue(0, 0, 2, 1)                     // id, 4 bits of frame number, output in coding order, one reference
	sps.u(1, 0)                            // no gaps
	sps.ue(uint32(w/16-1), uint32(h/16-1)) //
	sps.u(4, 0b1100)                       // frames, direct 8×8, not cropped, no VUI
	pps.ue(0, 0)                           // ids
	pps.u(2, 0)                            // CAVLC
	pps.ue(0, 0, 0)                        // slice groups, references
	pps.u(3, 0)                            // no weights
	pps.ue(0, 0, 0)                        // quantisers
	pps.u(3, 0b100)                        // deblocking is said in the slice
	out := bytes.Join([][]byte{nil, sps.nal(0x67), pps.nal(0x68)}, startCode)
	all, luma, chroma := w/16*h/16, bytes.Repeat([]byte{grey}, 256), bytes.Repeat([]byte{128}, 128)
	for n := range slices {
		var s stream
		first, end := all*n/slices, all*(n+1)/slices
		s.ue(uint32(first), 7, 0) // I, PPS
		s.u(4, 0)                 // frame number
		s.ue(uint32(i % 2))       // neighbouring pictures differ in it
		s.u(2, 0)                 // no long-term references
		s.ue(0, 1)                // quantiser, no deblocking
		for range end - first {
			s.ue(25) // I_PCM
			s.free = 0
			s.b = append(append(s.b, luma...), chroma...)
		}
		out = append(append(out, startCode...), s.nal(0x65)...)
	}
	return out
}

// luma is the grey of frame number i: 12 levels.
func luma(i int) byte { return byte(40 + 12*(i%12)) }

// numberH264 is the inverse of luma, −1 for other colours.
func numberH264(f *camera.Frame) int {
	v := int(f.Pix[f.Stride*f.Height/2+3*(f.Width/2)])*219/255 + 16 - 40 + 6
	if v < 0 || v >= 12*12 {
		return -1
	}
	return v / 12
}

// rtpH264 cuts a picture into interleaved RTP packets: units whole where they fit, else in fragments (FU-A).
func rtpH264(picture []byte, stamp uint32, seq *uint16) (out []byte) {
	units := bytes.Split(picture, startCode)[1:]
	for i, u := range units {
		last := i == len(units)-1
		if len(u) <= 1200 {
			out = packet(out, 96, last, stamp, seq, nil, u)
			continue
		}
		flag := byte(0x80) // the first fragment
		for part := u[1:]; len(part) > 0; flag = 0 {
			n := min(1200, len(part))
			if n == len(part) {
				flag |= 0x40
			}
			out = packet(out, 96, last && n == len(part), stamp, seq, []byte{u[0]&0xe0 | 28, flag | u[0]&0x1f}, part[:n])
			part = part[n:]
		}
	}
	return out
}
