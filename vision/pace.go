package vision

import (
	"maps"
	"math"
)

// maxFPS is the fastest rate that a camera can be configured with.
const maxFPS = 1000

// check refuses what heron never says.
func (p *pacing) check() error {
	if len(p.FPS) > maxList {
		return badf("pace for %d cameras; the limit is %d", len(p.FPS), maxList)
	}
	for name, fps := range p.FPS {
		if !okName(name) || math.IsNaN(fps) || fps < 0 || fps > maxFPS {
			return badf("pace %v for camera %.40q", fps, name)
		}
	}
	return nil
}

// SetPace bounds how many frames a second of each live camera are classified, below its configured rate. 0, or a camera that is not
// named, has no bound. A process that takes the present one's place is told, too. Files and folders are never slowed.
func (c *Client) SetPace(fps map[string]float64) {
	bounds := map[string]float64{}
	for name, v := range fps {
		if _, ok := c.known.cameras[name]; ok && v > 0 && v <= maxFPS {
			bounds[name] = v
		}
	}
	c.mu.Lock()
	if !maps.Equal(bounds, c.bounds) {
		c.bounds = bounds
		c.boundsSet++
	}
	c.mu.Unlock()
	c.sendPace()
}

// sendPace tells the present process the bounds that it has not been told. Before its hello it may not have its configuration yet.
func (c *Client) sendPace() {
	c.mu.Lock()
	s, m := c.session, pacing{c.bounds}
	due := s != nil && s.hello && s.boundsTold != c.boundsSet
	if due {
		s.boundsTold = c.boundsSet
	}
	c.mu.Unlock()
	if due && s.w.send(kindPace, m) != nil {
		s.conn.Close() // a message may have gone out in part
	}
}

// pace applies bounds to every camera: those not named lose theirs.
func (s *server) pace(p pacing) {
	for name, c := range s.cameras {
		if c.source != nil {
			c.source.SetFPS(p.FPS[name])
		}
	}
}

// takePace reads heron's pace message.
func (s *server) takePace(b []byte) error {
	var m pacing
	if err := unmarshal(b, &m); err != nil {
		return err
	}
	if err := m.check(); err != nil {
		return err
	}
	s.pace(m)
	return nil
}
