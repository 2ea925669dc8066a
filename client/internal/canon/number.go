// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package canon

import (
	"strconv"

	"github.com/sotto-project/sotto/internal/jsonstream"
)

// lowest is the decimal exponent of the leading digit below which a fraction is
// written with an exponent, as in ECMAScript.
const lowest = -6

// exponentCap is more than any exponent of a number that a binary64 can hold.
const exponentCap = 1 << 20

// appendNumber appends the one spelling of the value of lit, a valid number of
// at most MaxNumber bytes that is no infinity in binary64. The value is the
// decimal one, exactly: nothing is rounded. It is at most MaxNumber bytes.
//
// It is not ok if the value is not zero and a binary64 would read it as zero.
func appendNumber(b, lit []byte) (out []byte, ok bool) {
	d := parseDecimal(lit)
	if d.n == 0 {
		return append(b, '0'), true // -0 is 0: as JavaScript writes it, and equal to it
	}
	digits := d.digits[:d.n]
	lead := d.n - 1 + d.exp // decimal exponent of the leading digit
	if lead < -300 {
		if f, err := strconv.ParseFloat(string(lit), 64); err != nil || f == 0 {
			return nil, false
		}
	}
	sign := 0
	if d.neg {
		sign, b = 1, append(b, '-')
	}
	switch {
	case d.exp >= 0 && sign+d.n+d.exp <= jsonstream.MaxNumber: // an integer
		return zeros(append(b, digits...), d.exp), true
	case d.exp < 0 && lead >= 0:
		b = append(b, digits[:lead+1]...)
		return append(append(b, '.'), digits[lead+1:]...), true
	case lead < 0 && lead >= lowest && sign+1+d.n-lead <= jsonstream.MaxNumber:
		b = zeros(append(b, "0."...), -lead-1)
		return append(b, digits...), true
	}
	b = append(append(b, digits...), 'e')
	return strconv.AppendInt(b, int64(d.exp), 10), true
}

func zeros(b []byte, n int) []byte {
	for range n {
		b = append(b, '0')
	}
	return b
}

// A decimal is digits * 10^exp. The digits neither begin nor end with a zero,
// and there are none in zero.
type decimal struct {
	neg    bool
	digits [jsonstream.MaxNumber]byte
	n      int
	exp    int
}

func parseDecimal(lit []byte) (d decimal) {
	if lit[0] == '-' {
		d.neg, lit = true, lit[1:]
	}
	fraction := false
	for i, c := range lit {
		if c == 'e' || c == 'E' {
			d.exp += parseExponent(lit[i+1:])
			break
		}
		if c == '.' {
			fraction = true
			continue
		}
		if fraction {
			d.exp--
		}
		if d.n > 0 || c != '0' {
			d.digits[d.n] = c
			d.n++
		}
	}
	for d.n > 0 && d.digits[d.n-1] == '0' {
		d.n--
		d.exp++
	}
	return d
}

// parseExponent reads [+-]digits, no further than exponentCap.
func parseExponent(s []byte) int {
	neg := s[0] == '-'
	if neg || s[0] == '+' {
		s = s[1:]
	}
	e := 0
	for _, c := range s {
		e = min(e*10+int(c-'0'), exponentCap)
	}
	if neg {
		return -e
	}
	return e
}
