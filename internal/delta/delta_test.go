package delta

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

func digest(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

func patchOf(t testing.TB, old, new []byte) []byte {
	t.Helper()
	var p bytes.Buffer
	if err := Make(old, new, &p); err != nil {
		t.Fatal(err)
	}
	return p.Bytes()
}

func applied(old, patch []byte, size int64, sum string) ([]byte, error) {
	var out bytes.Buffer
	err := Apply(bytes.NewReader(old), int64(len(old)), bytes.NewReader(patch), &out, size, sum)
	return out.Bytes(), err
}

// weights are n normally distributed float32, as those of a trained layer are.
func weights(r *rand.Rand, n int) []byte {
	b := make([]byte, 0, 4*n)
	for range n {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(float32(r.NormFloat64()*0.05)))
	}
	return b
}

// nudged is b after a little training: every weight off by a thousandth or so.
func nudged(r *rand.Rand, b []byte) []byte {
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i += 4 {
		w := math.Float32frombits(binary.LittleEndian.Uint32(b[i:]))
		out = binary.LittleEndian.AppendUint32(out, math.Float32bits(w*float32(1+r.NormFloat64()*0.001)))
	}
	return out
}

// lastLayer is old with its last n weights trained anew and a longer description in front.
func lastLayer(r *rand.Rand, old []byte, n int) []byte {
	out := append(bytes.Repeat([]byte("described "), 14), old[:len(old)-4*n]...)
	return append(out, weights(r, n)...)
}

func TestPatchesGiveTheNewVersion(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	old := weights(r, 1<<18) // 1 MiB
	cut := slices.Delete(slices.Clone(old), 300_000, 300_777)
	swapped := append(slices.Clone(old[500_000:]), old[:500_000]...)
	one := slices.Clone(old)
	one[12345] ^= 1
	sparse := slices.Clone(old)
	for i := 0; i < len(sparse); i += 5000 {
		sparse[i] += 3
	}
	cases := map[string]struct {
		old, new []byte
		most     int // bytes of the patch
	}{
		"the same":             {old, old, 64},
		"both empty":           {nil, nil, 64},
		"from nothing":         {nil, old, len(old) + 100},
		"to nothing":           {old, nil, 64},
		"shorter than any":     {[]byte("abc"), []byte("abd"), 64},
		"one bit":              {old, one, 100},
		"cut in two":           {old, cut, 100},
		"halves swapped":       {old, swapped, 100},
		"last layer":           {old, lastLayer(r, old, 1280*5), 1280*5*4 + 300},
		"bytes here and there": {old, sparse, 5000},
		"every weight":         {old, nudged(r, old), len(old) * 7 / 10},
		"unlike":               {old, weights(r, 1<<16), 1<<18 + 100},
		"zeros":                {make([]byte, 1<<20), make([]byte, 1<<19), 100},
		"zeros and more":       {make([]byte, 1000), make([]byte, 1<<20), 200},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			p := patchOf(t, c.old, c.new)
			got, err := applied(c.old, p, int64(len(c.new)), digest(c.new))
			if err != nil || !bytes.Equal(got, c.new) {
				t.Fatalf("%d bytes, %v", len(got), err)
			}
			t.Logf("patch of %d bytes for %d", len(p), len(c.new))
			if len(p) > c.most {
				t.Errorf("the patch has %d bytes, want at most %d", len(p), c.most)
			}
			if !bytes.Equal(p, patchOf(t, c.old, c.new)) {
				t.Error("a second patch is other bytes")
			}
		})
	}
}

func TestLastLayerOfATwentyMegabyteModelCostsThreePercent(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	old := weights(r, 5<<20)
	new := lastLayer(r, old, 1280*100)
	p := patchOf(t, old, new)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	sum := sha256.New()
	if err := Apply(bytes.NewReader(old), int64(len(old)), bytes.NewReader(p), sum, int64(len(new)), digest(new)); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	t.Logf("patch %d bytes, %.2f %% of %d; applying allocated %d kB in all", len(p), 100*float64(len(p))/float64(len(new)), len(new), (after.TotalAlloc-before.TotalAlloc)>>10)
	if len(p)*100 > 3*len(new) {
		t.Errorf("the patch has %d bytes: over 3 %% of %d", len(p), len(new))
	}
	if got := after.TotalAlloc - before.TotalAlloc; got > 8<<20 {
		t.Errorf("applying allocated %d MB for a model of %d", got>>20, len(new)>>20)
	}
	if digest(new) != hex.EncodeToString(sum.Sum(nil)) {
		t.Error("wrong bytes")
	}
}

// steps is a patch with the given content.
func steps(t testing.TB, b ...byte) []byte {
	t.Helper()
	enc, err := zstd.NewWriter(nil, zstd.WithWindowSize(window))
	if err != nil {
		t.Fatal(err)
	}
	defer enc.Close()
	return append([]byte(magic), enc.EncodeAll(b, nil)...)
}

func TestHostilePatchesAreRefused(t *testing.T) {
	old := bytes.Repeat([]byte("0123456789abcdef"), 100)
	new := append(slices.Clone(old), "and more"...)
	good := patchOf(t, old, new)
	many := binary.AppendUvarint(nil, 1<<63)
	wide, err := zstd.NewWriter(nil, zstd.WithWindowSize(64<<20), zstd.WithSingleSegment(false))
	if err != nil {
		t.Fatal(err)
	}
	defer wide.Close()
	var streamed bytes.Buffer // a frame that declares a window of 64 MiB
	wide.Reset(&streamed)
	for range 80 {
		_, _ = wide.Write(make([]byte, 1<<20))
	}
	if err := wide.Close(); err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		patch []byte
		want  string
	}{
		"nothing":             {nil, "unexpected EOF"},
		"another file":        {[]byte("PK\x03\x04 and so on"), "does not begin with HDP1"},
		"cut short":           {good[:len(good)-3], "unexpected EOF"},
		"only the magic":      {[]byte(magic), "unexpected EOF"},
		"a bit flipped":       {flip(good, len(good)-2), "the patch does not fit"},
		"unknown step":        {steps(t, 9), "it has a step 9"},
		"early end":           {steps(t, opEnd), "ends 1608 bytes early"},
		"no end":              {steps(t, opInsert, 1, 'x'), "unexpected EOF"},
		"before the old":      {steps(t, opCopy, 1, 16), "reads beyond the 1600 bytes"},
		"behind the old":      {steps(t, append(binary.AppendVarint([]byte{opCopy}, 1590), 16)...), "reads beyond the 1600 bytes"},
		"far behind":          {steps(t, append(binary.AppendVarint([]byte{opCopy}, math.MaxInt64), 16)...), "reads beyond"},
		"far before":          {steps(t, append(binary.AppendVarint([]byte{opAdd}, math.MinInt64), 16)...), "reads beyond"},
		"endless insert":      {steps(t, append([]byte{opInsert}, many...)...), "a step of 9223372036854775808 bytes"},
		"endless copy":        {steps(t, append([]byte{opCopy, 0}, many...)...), "a step of 9223372036854775808 bytes"},
		"empty steps":         {steps(t, bytes.Repeat([]byte{opInsert, 0}, 1000)...), "a step of 0 bytes"},
		"tiny copies":         {steps(t, opCopy, 0, 1), "at least 16"},
		"a number for ever":   {steps(t, append([]byte{opInsert}, bytes.Repeat([]byte{0xff}, 20)...)...), "overflows"},
		"difference cut off":  {steps(t, opAdd, 0, 16, 1, 2, 3), "unexpected EOF"},
		"a window of 64 MiB":  {append([]byte(magic), streamed.Bytes()...), "the patch does not fit"},
		"more after the end":  {append(slices.Clone(good), steps(t, 1)[len(magic):]...), "something follows"},
		"garbage after it":    {append(slices.Clone(good), "hidden"...), "the patch does not fit"},
		"for another version": {patchOf(t, []byte(strings.Repeat("x", 5000)), []byte(strings.Repeat("x", 1608))), "reads beyond"},
		"other content":       {patchOf(t, nil, bytes.Repeat([]byte("y"), 1608)), "the result has digest"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := applied(old, c.patch, int64(len(new)), digest(new))
			if err == nil || !errors.Is(err, ErrPatch) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if len(got) > len(new) {
				t.Errorf("wrote %d bytes", len(got))
			}
		})
	}
	if _, err := applied(old, good, int64(len(new)), "beef"); err == nil || errors.Is(err, ErrPatch) {
		t.Errorf("a wrong digest: %v", err)
	}
}

func flip(b []byte, i int) []byte {
	b = slices.Clone(b)
	b[i] ^= 0x40
	return b
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error)         { return 0, f.err }
func (f failing) Read([]byte) (int, error)          { return 0, f.err }
func (f failing) ReadAt([]byte, int64) (int, error) { return 0, f.err }

func TestErrorsOfTheDiskKeepTheirIdentity(t *testing.T) {
	disk := failing{errors.New("the disk is gone")}
	old := bytes.Repeat([]byte("0123456789abcdef"), 10000)
	p := patchOf(t, old, old)
	for name, err := range map[string]error{
		"old":   Apply(disk, int64(len(old)), bytes.NewReader(p), io.Discard, int64(len(old)), digest(old)),
		"patch": Apply(bytes.NewReader(old), int64(len(old)), disk, io.Discard, int64(len(old)), digest(old)),
		"out":   Apply(bytes.NewReader(old), int64(len(old)), bytes.NewReader(p), disk, int64(len(old)), digest(old)),
		"make":  Make(old, old, disk),
	} {
		if !errors.Is(err, disk.err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// closer is a file of a test.
type closer struct {
	bytes.Buffer
	closed int
}

func (c *closer) Close() error { c.closed++; return nil }

func TestManyFilesInOnePatch(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	body := weights(r, 50_000)
	olds := [][]byte{[]byte("{}"), body, {}, []byte("ok\nbad\n")}
	news := [][]byte{[]byte(`{"v":1}`), lastLayer(r, body, 500), []byte("ok\nbad\nworse\n"), {}}
	var parts []Part
	for _, o := range olds {
		parts = append(parts, Part{bytes.NewReader(o), int64(len(o))})
	}
	var files []File
	for i, n := range news {
		files = append(files, File{Path: string(rune('a' + i)), Size: int64(len(n)), SHA256: digest(n)})
	}
	patch := patchOf(t, slices.Concat(olds...), slices.Concat(news...))
	old, size := Join(parts...)

	got := map[string]*closer{}
	create := func(f File) (io.WriteCloser, error) { got[f.Path] = &closer{}; return got[f.Path], nil }
	if err := ApplyFiles(old, size, bytes.NewReader(patch), files, create); err != nil {
		t.Fatal(err)
	}
	for i, n := range news {
		if c := got[files[i].Path]; c == nil || !bytes.Equal(c.Bytes(), n) || c.closed != 1 {
			t.Errorf("%s: %+v", files[i].Path, c)
		}
	}

	bad := slices.Clone(files)
	bad[1].SHA256 = digest(nil)
	if err := ApplyFiles(old, size, bytes.NewReader(patch), bad, create); !errors.Is(err, ErrPatch) || !strings.HasPrefix(err.Error(), "b: ") {
		t.Errorf("a wrong digest: %v", err)
	}
	bad = slices.Clone(files[:3])
	bad[1].Size--
	if err := ApplyFiles(old, size, bytes.NewReader(patch), bad, create); !errors.Is(err, ErrPatch) {
		t.Errorf("a wrong size: %v", err)
	}
	full := errors.New("no space")
	if err := ApplyFiles(old, size, bytes.NewReader(patch), files, func(File) (io.WriteCloser, error) { return nil, full }); !errors.Is(err, full) {
		t.Errorf("create fails: %v", err)
	}
	for name, c := range got {
		if c.closed != 1 {
			t.Errorf("%s was closed %d times", name, c.closed)
		}
	}
}

func TestJoinReadsAcrossParts(t *testing.T) {
	j, size := Join(Part{strings.NewReader("abc"), 3}, Part{strings.NewReader(""), 0}, Part{strings.NewReader("defgh"), 5})
	if size != 8 {
		t.Fatal(size)
	}
	for from := range 9 {
		for to := from; to <= 8; to++ {
			b := make([]byte, to-from)
			if n, err := j.ReadAt(b, int64(from)); err != nil || string(b[:n]) != "abcdefgh"[from:to] {
				t.Errorf("%d…%d: %q, %v", from, to, b[:n], err)
			}
		}
	}
	if n, err := j.ReadAt(make([]byte, 4), 6); n != 2 || err != io.EOF {
		t.Errorf("at the end: %d, %v", n, err)
	}
}

// FuzzApply: whatever the steps, no more than the signed size is written, and success means the signed bytes.
func FuzzApply(f *testing.F) {
	old := bytes.Repeat([]byte("0123456789abcdef"), 64)
	new := append(bytes.Clone(old[:500]), "something else entirely"...)
	f.Add([]byte{opCopy, 0, 16, opEnd}, int64(16))
	f.Add([]byte{opAdd, 2, 16, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, opInsert, 1, 'x', opEnd}, int64(17))
	f.Add([]byte{opInsert, 3, 'a', 'b', 'c', opEnd}, int64(3))
	f.Fuzz(func(t *testing.T, b []byte, size int64) {
		size &= 0xffff
		got, err := applied(old, steps(t, b...), size, digest(new))
		if int64(len(got)) > size {
			t.Fatalf("%d bytes written, %d signed", len(got), size)
		}
		if err == nil && !bytes.Equal(got, new) {
			t.Fatal("accepted other bytes")
		}
	})
}

// FuzzMake: any two versions, there and back.
func FuzzMake(f *testing.F) {
	f.Add([]byte("the old one"), []byte("the new one"), uint8(3))
	f.Fuzz(func(t *testing.T, old, new []byte, times uint8) {
		old, new = bytes.Repeat(old, int(times%32)+1), bytes.Repeat(new, int(times%17)+1)
		got, err := applied(old, patchOf(t, old, new), int64(len(new)), digest(new))
		if err != nil || !bytes.Equal(got, new) {
			t.Fatalf("%v", err)
		}
	})
}

func pair() (old, new []byte) {
	r := rand.New(rand.NewPCG(1, 2))
	old = weights(r, 5<<20)
	return old, lastLayer(r, old, 1280*100)
}

func BenchmarkMake20MB(b *testing.B) {
	old, new := pair()
	b.SetBytes(int64(len(new)))
	for b.Loop() {
		if err := Make(old, new, io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkApply20MB(b *testing.B) {
	old, new := pair()
	path := b.TempDir() + "/old"
	if err := os.WriteFile(path, old, 0o600); err != nil {
		b.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	p, sum := patchOf(b, old, new), digest(new)
	b.SetBytes(int64(len(new)))
	b.ReportAllocs()
	b.ReportMetric(float64(len(p)), "patch-bytes")
	for b.Loop() {
		if err := Apply(f, int64(len(old)), bytes.NewReader(p), io.Discard, int64(len(new)), sum); err != nil {
			b.Fatal(err)
		}
	}
}
