package models

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

func (s *slot) resolve(ctx context.Context, n next) (Step, func(*next), error) {
	o, err := s.offer(ctx, n.Wish)
	if err != nil {
		return "", nil, fmt.Errorf("read the metadata of %s: %w", n.Wish.Target, err)
	}
	if o.Size <= 0 || !isDigest(o.SHA256) || o.Manifest != "" && !isDigest(o.Manifest) {
		return "", nil, fmt.Errorf("read the metadata of %s: no size, or no SHA-256 in lower-case hex", n.Wish.Target)
	}
	o.Target = n.Wish.Target
	return StepMetadata, func(n *next) { n.Offer, n.Bundle = o, Bundle{Digest: o.SHA256, Target: o.Target} }, nil
}

func (s *slot) offer(ctx context.Context, w Wish) (Offer, error) {
	if w.File == "" {
		return s.m.cfg.Source.Resolve(ctx, w.Target)
	}
	f, err := os.Open(w.File)
	if err != nil {
		return Offer{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Offer{}, err
	}
	if !info.Mode().IsRegular() {
		return Offer{}, fmt.Errorf("%s is no archive; make one with: heron model pack", w.File)
	}
	digest, err := digestOf(f, defaultLimits())
	return Offer{Size: info.Size(), SHA256: digest}, err
}

// reserve looks for room. What is here already needs none.
func (s *slot) reserve(_ context.Context, n next) (Step, func(*next), error) {
	c, err := parseCustom(n.Offer.Custom)
	if err != nil {
		return "", nil, &Refusal{Check: CheckTerms, Reason: err.Error()}
	}
	if b, ok := s.m.known(n.Offer.SHA256); ok && !n.Wish.Retry {
		if m, err := checkFolder(s.m.store.folder(b.Digest), b.Manifest, false); err == nil {
			return StepVerified, func(n *next) { n.describe(m) }, nil
		}
	}
	if err := s.m.store.room(n.Offer, unpackedBound(n.Offer, c)); err != nil {
		kick(s.m.sweep)
		return "", nil, err
	}
	return StepReserved, nil, nil
}

func (n *next) describe(m *manifest) {
	n.Bundle.Model, n.Bundle.Manifest, n.Bundle.Labels = m.model(), m.digest, m.labels()
}

func (s *slot) fetch(ctx context.Context, n next) (Step, func(*next), error) {
	f := Fetching{Offer: n.Offer, Path: s.m.store.archive(n.Offer.SHA256), Have: s.m.have(), Progress: s.progress, Waits: s.waits}
	var err error
	if n.Wish.File != "" {
		err = copyFile(ctx, n.Wish.File, f.Path)
	} else {
		err = s.m.cfg.Source.Fetch(ctx, f)
	}
	if err != nil {
		return "", nil, fmt.Errorf("fetch %s: %w", n.Wish.Target, err)
	}
	return StepFetched, nil, nil
}

func (s *slot) progress(done, total int64) {
	if total <= 0 {
		return
	}
	p := int(min(max(100*done/total, 0), 100))
	s.m.mu.Lock()
	changed := p != s.percent || s.gate.putOff != ""
	if p > s.percent {
		s.waitsFor = ""
	}
	s.percent, s.gate.come, s.gate.putOff = p, p, ""
	s.deferred = "" // it flows
	s.m.mu.Unlock()
	if changed {
		s.m.cfg.Changed()
	}
}

// waits tells why the fetch does not get on, while it is still at it.
func (s *slot) waits(why error) {
	text := oneLine(fmt.Errorf("fetch, tried again: %w", why))
	s.m.mu.Lock()
	changed := s.waitsFor != text
	s.waitsFor = text
	s.m.mu.Unlock()
	if changed {
		s.m.cfg.Changed()
	}
}

func copyFile(ctx context.Context, from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, &canceled{ctx, in})
	if err == nil {
		err = out.Sync()
	}
	return errors.Join(err, out.Close())
}

func (s *slot) verify(ctx context.Context, n next) (Step, func(*next), error) {
	c, err := parseCustom(n.Offer.Custom)
	if err != nil {
		return "", nil, &Refusal{Check: CheckTerms, Reason: err.Error()}
	}
	m, err := s.m.store.verify(ctx, n.Offer, unpackedBound(n.Offer, c))
	if errors.Is(err, os.ErrNotExist) {
		return "", nil, &notSigned{err.Error()}
	}
	if err != nil {
		return "", nil, fmt.Errorf("verify %s: %w", n.Wish.Target, err)
	}
	return StepVerified, func(n *next) { n.describe(m) }, nil
}

func (s *slot) keep(_ context.Context, n next) (Step, func(*next), error) {
	if err := s.m.store.keep(n.Offer.SHA256, n.Bundle.Manifest); err != nil {
		return "", nil, fmt.Errorf("store %s: %w", n.Wish.Target, err)
	}
	s.m.store.forget(n.Offer.SHA256)
	return StepStored, nil, nil
}
