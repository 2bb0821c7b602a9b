package repo

import (
	"crypto"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// signRole signs with the keys at hand until every ring is satisfied; all: with every key at hand that counts. The bridge is signed where
// its keys are here and open: they may have been lost, which is why they are exchanged.
func (r *Repo) signRole(c *change, role string, all bool) error {
	if err := r.signUp(c.sheet(role), c.rings(role), all); err != nil {
		return err
	}
	old, ok := c.bridge(role)
	if !ok {
		return nil
	}
	err := r.signUp(c.sheet(role), []ring{old}, false)
	if errors.Is(err, ErrPassphrase) {
		c.result.Notes = append(c.result.Notes, fmt.Sprintf("an old key of %s did not open and has not signed", role))
		return nil
	}
	return err
}

func (r *Repo) signUp(doc sheet, rings []ring, all bool) error {
	for _, ring := range rings {
		for _, id := range ring.ids {
			k := r.keys.keys[id]
			if k == nil || has(doc, id) || (!all && count(doc, ring) >= ring.threshold) {
				continue
			}
			if err := r.sign(doc, k); err != nil {
				return err
			}
		}
	}
	return nil
}

// sign adds a signature, replacing an earlier one of the same key.
func (r *Repo) sign(doc sheet, k *key) error {
	priv, err := r.keys.open(k)
	if err != nil {
		return err
	}
	signer, err := signature.LoadSigner(priv, crypto.Hash(0))
	if err != nil {
		return err
	}
	list := doc.signatures()
	*list = slices.DeleteFunc(*list, func(s metadata.Signature) bool { return s.KeyID == k.id })
	_, err = doc.Sign(signer)
	return err
}

// signOnline signs what must be published at once: snapshot and timestamp cannot wait for other holders.
func (r *Repo) signOnline(c *change, role string) error {
	if err := r.signRole(c, role, false); err != nil {
		return err
	}
	if m := r.lacking(role, c.sheet(role), c.rings(role)); m != nil {
		return fmt.Errorf("%s cannot be signed here: no key file of %s; name one with --key", role, strings.Join(m.From, ", "))
	}
	if err := c.root.VerifyDelegate(role, c.sheet(role).verifiable()); err != nil {
		return fmt.Errorf("the signatures of %s: %w", role, err)
	}
	return nil
}
