package fetch

import (
	"context"
	"errors"
	"os"
	"testing"

	"heron/internal/slotfile"
)

// A power cut may leave any journal and any part: what does not fit together is begun anew, what is wrong in the middle is found at the end.
func TestPartsAndJournalsAreNotTrusted(t *testing.T) {
	data := random(2 << 20)
	half := func(t *testing.T, c *Client, r Request) {
		t.Helper()
		ctx, cancel := context.WithCancel(limit(t))
		r.Progress = func(done, _ int64) {
			if done >= 1<<20 {
				cancel()
			}
		}
		if err := c.File(ctx, r); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	overwrite := func(path string, at int64, b []byte) error {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = f.WriteAt(b, at)
		return err
	}
	cases := map[string]func(r *Request) error{
		"no journal":              func(r *Request) error { return os.Remove(r.Path + journalSuffix) },
		"no part":                 func(r *Request) error { return os.Remove(r.Path + partSuffix) },
		"part shorter":            func(r *Request) error { return os.Truncate(r.Path+partSuffix, 1000) },
		"journal empty":           func(r *Request) error { return os.Truncate(r.Path+journalSuffix, 0) },
		"journal zeros":           func(r *Request) error { return overwrite(r.Path+journalSuffix, 0, make([]byte, 2*slotfile.Size)) },
		"journal garbage":         func(r *Request) error { return overwrite(r.Path+journalSuffix, 0, random(2*slotfile.Size)) },
		"one slot torn":           func(r *Request) error { return overwrite(r.Path+journalSuffix, 20, []byte("torn")) },
		"other slot torn":         func(r *Request) error { return overwrite(r.Path+journalSuffix, slotfile.Size+20, []byte("torn")) },
		"a byte of the part lost": func(r *Request) error { return overwrite(r.Path+partSuffix, 5000, []byte{^data[5000]}) },
		"a page of zeros":         func(r *Request) error { return overwrite(r.Path+partSuffix, 8192, make([]byte, 4096)) },
	}
	for name, damage := range cases {
		t.Run(name, func(t *testing.T) {
			o := &object{data: data, etag: `"1"`}
			url := serve(t, o)
			c := client(t, nil, url)
			r := want(t, data, url)
			half(t, c, r)
			if err := damage(&r); err != nil {
				t.Fatal(err)
			}
			err := c.File(limit(t), r)
			if errors.Is(err, ErrDigest) { // damage in the middle: seen when all is there, nothing is left, the next call is right
				only(t, r)
				err = c.File(limit(t), r)
			}
			if err != nil {
				t.Fatal(err)
			}
			arrived(t, r, data)
		})
	}
}

func TestKilledBetweenTheLastByteAndTheName(t *testing.T) {
	data := random(100_000)
	for name, content := range map[string][]byte{"right": data, "wrong": random(100_000 + 1)[:100_000]} {
		o := &object{data: data}
		url := serve(t, o)
		c := client(t, nil, url)
		r := want(t, data, url)
		p, err := openPart(r.Path, r.Size, r.SHA256, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.write(content); err != nil {
			t.Fatal(err)
		}
		if err := p.close(); err != nil {
			t.Fatal(err)
		}
		if err := c.File(limit(t), r); err != nil {
			t.Fatal(name, err)
		}
		arrived(t, r, data)
		if n := len(o.requests()); n > 0 && name == "right" || n != 1 && name == "wrong" {
			t.Errorf("%s: %d requests", name, n)
		}
	}
}
