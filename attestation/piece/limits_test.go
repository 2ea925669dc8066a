// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package piece

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/internal/snp"
	"github.com/sotto-project/sotto/attestation/internal/tdx"
)

// TestLimitsFollowPolicy: every field of a policy's part changes the limits, so
// that none is forgotten here when one is added there.
func TestLimitsFollowPolicy(t *testing.T) {
	// A grace past the next update is given to Verify; floors that end at a date
	// are no part of a built-in policy.
	elsewhere := []string{"CRLGrace", "CollateralGrace", "FloorGrace"}
	changed := func(policy any, limits func() any) {
		v := reflect.ValueOf(policy).Elem()
		before := limits()
		for i := range v.NumField() {
			name := v.Type().Field(i).Name
			old := reflect.ValueOf(v.Field(i).Interface())
			set(v.Field(i))
			if reflect.DeepEqual(before, limits()) != slices.Contains(elsewhere, name) {
				t.Errorf("%s.%s changes nothing", v.Type().Name(), name)
			}
			v.Field(i).Set(old)
		}
	}
	var s attestation.SNPPolicy
	changed(&s, func() any { return *snpLimits(&s, &snp.Genuine{Report: new(snp.Report)}, new(snpRequest)) })
	var d attestation.TDXPolicy
	changed(&d, func() any { return *tdxLimits(&d, &tdx.Genuine{Quote: new(tdx.Quote)}, new(tdxRequest)) })
	for _, name := range attestation.Profiles() {
		p, err := attestation.Profile(name)
		if err != nil {
			t.Fatal(err)
		}
		if len(p.SNP.FloorGrace) != 0 {
			t.Errorf("%s has floors that end at a date, which are not looked at here", name)
		}
	}
}

// set gives a field a value that is not its zero.
func set(v reflect.Value) {
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.String:
		v.SetString("x")
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(time.Hour))
	case reflect.Uint8, reflect.Uint32, reflect.Uint64:
		v.SetUint(1)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
	case reflect.Map:
		m := reflect.MakeMap(v.Type())
		key := reflect.New(v.Type().Key()).Elem()
		set(key)
		m.SetMapIndex(key, reflect.Zero(v.Type().Elem()))
		v.Set(m)
	}
}
