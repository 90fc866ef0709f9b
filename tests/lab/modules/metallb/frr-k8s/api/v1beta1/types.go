// Copyright: (c) groundplane.kubeadm contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Package v1beta1 has the names that MetalLB needs to be compiled, for its mode frr-k8s, which the lab never runs.
package v1beta1

import (
	"encoding/json"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// AddToScheme registers nothing: no object of this group is ever sent or read in mode native.
func AddToScheme(_ *runtime.Scheme) error {
	return nil
}

type FRRConfiguration struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              FRRConfigurationSpec `json:"spec,omitempty"`
}

type FRRConfigurationSpec struct {
	BGP          BGPConfig
	NodeSelector metav1.LabelSelector
}

type BGPConfig struct {
	Routers     []Router
	BFDProfiles []BFDProfile
}

type Router struct {
	ASN       uint32
	ID        string
	VRF       string
	Neighbors []Neighbor
	Prefixes  []string
}

type DynamicASNMode string

type SecretReference struct {
	Name      string
	Namespace string
}

type Neighbor struct {
	Address                string
	Interface              string
	ASN                    uint32
	DynamicASN             DynamicASNMode
	Port                   *uint16
	HoldTime               *metav1.Duration
	KeepaliveTime          *metav1.Duration
	ConnectTime            *metav1.Duration
	BFDProfile             string
	EnableGracefulRestart  bool
	EBGPMultiHop           bool
	DualStackAddressFamily bool
	DisableMP              bool
	ToAdvertise            Advertise
	Password               string
	PasswordSecret         SecretReference
}

type Advertise struct {
	Allowed                   AllowedOutPrefixes
	PrefixesWithLocalPref     []LocalPrefPrefixes
	PrefixesWithCommunity     []CommunityPrefixes
	PrefixesWithAsPathPrepend []AsPathPrependPrefixes
}

type AllowedOutPrefixes struct {
	Prefixes []string
}

type LocalPrefPrefixes struct {
	LocalPref uint32
	Prefixes  []string
}

type CommunityPrefixes struct {
	Community string
	Prefixes  []string
}

type AsPathPrependPrefixes struct {
	AsPathPrepend uint8
	Prefixes      []string
}

type BFDProfile struct {
	Name             string
	ReceiveInterval  *uint32
	TransmitInterval *uint32
	DetectMultiplier *uint32
	EchoInterval     *uint32
	MinimumTTL       *uint32
	EchoMode         *bool
	PassiveMode      *bool
}

func (in *FRRConfiguration) DeepCopy() *FRRConfiguration {
	out := new(FRRConfiguration)
	copyInto(in, out)
	return out
}

func (in *FRRConfiguration) DeepCopyObject() runtime.Object {
	return in.DeepCopy()
}

func (in *FRRConfigurationSpec) DeepCopyInto(out *FRRConfigurationSpec) {
	copyInto(in, out)
}

func copyInto(in, out any) {
	text, err := json.Marshal(in)
	if err == nil {
		err = json.Unmarshal(text, out)
	}
	if err != nil {
		panic(err)
	}
}
