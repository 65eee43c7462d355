//! How a section of the policy is declared: once, and from that its reader, its layers and how it is shown.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::super::decode::{Decoder, duration, integer};
use super::super::size::ByteSize;
use super::super::yaml::Node;
use crate::code::Codes;

/// What a layer of settings is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum Scope {
    /// Whole plugins: one, or all of a host.
    Plugin,
    /// Calls: of a service, or of a method.
    Call,
}

/// What one layer says of a section.
pub(super) trait Said: Clone + Default {
    /// The section with every value decided.
    type Section: Default;

    /// Lays this over what the layers below have decided.
    fn apply(&self, section: &mut Self::Section);

    /// This layer with another one of the same kind on top.
    fn overridden(self, over: &Self) -> Self;

    /// The keys that it says something of.
    fn said(&self) -> Vec<&'static str>;

    /// Every key of a section with its value.
    fn shown(section: &Self::Section) -> Vec<(&'static str, String)>;
}

/// Declares a section: `[plugin]` keys are those of a whole plugin, `[call]` keys may differ by service and method.
macro_rules! section {
    (
        $(#[$doc:meta])*
        $name:ident, $said:ident {
            $( $(#[$field_doc:meta])* [$scope:ident] $field:ident: $type:ty = $default:expr, $read:expr; )*
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $( $(#[$field_doc])* pub $field: $type, )*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: $default, )* }
            }
        }

        #[doc = concat!("What one layer says of [`", stringify!($name), "`]. None: nothing.")]
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct $said {
            $( $(#[$field_doc])* pub $field: Option<$type>, )*
        }

        impl $said {
            /// Reads the section at `node`, as a layer of `scope`.
            pub(in crate::config) fn read(
                d: &mut $crate::config::decode::Decoder<'_>,
                node: &$crate::config::yaml::Node,
                scope: $crate::config::policy::section::Scope,
            ) -> Option<Self> {
                let mut section = $crate::config::decode::Section::open(d, node)?;
                $(
                    section!(@check $scope, d, section, scope, stringify!($field));
                    let $field = section.optional(d, stringify!($field), $read);
                )*
                section.finish(d);
                Some(Self { $( $field, )* })
            }
        }

        impl $crate::config::policy::section::Said for $said {
            type Section = $name;

            fn apply(&self, section: &mut $name) {
                $( if let Some(value) = &self.$field { section.$field.clone_from(value); } )*
            }

            fn overridden(mut self, over: &Self) -> Self {
                $( if over.$field.is_some() { self.$field.clone_from(&over.$field); } )*
                self
            }

            fn said(&self) -> Vec<&'static str> {
                [$( self.$field.is_some().then_some(stringify!($field)), )*].into_iter().flatten().collect()
            }

            fn shown(section: &$name) -> Vec<(&'static str, String)> {
                vec![$( (stringify!($field), $crate::config::policy::section::Shown::shown(&section.$field)), )*]
            }
        }
    };
    (@check call, $d:ident, $section:ident, $scope:ident, $key:expr) => {
        let _ = $scope;
    };
    (@check plugin, $d:ident, $section:ident, $scope:ident, $key:expr) => {
        if $scope == $crate::config::policy::section::Scope::Call
            && let Some(at) = $section.key_position($key)
        {
            let problem = concat!($key, " is a matter of the whole plugin, and this is about some of its calls");
            $d.fault(at, problem, Some("move it up to the plugin".into()));
        }
    };
}
pub(super) use section;

/// How a value is shown to people: as it may be written in the file.
pub(in crate::config) trait Shown {
    /// The text.
    fn shown(&self) -> String;
}

impl Shown for Duration {
    fn shown(&self) -> String {
        humantime::format_duration(*self).to_string()
    }
}

impl<T: Shown> Shown for Option<T> {
    fn shown(&self) -> String {
        self.as_ref().map_or_else(|| "none".to_owned(), T::shown)
    }
}

impl<T: Display> Shown for Vec<T> {
    fn shown(&self) -> String {
        match self.as_slice() {
            [] => "none".to_owned(),
            items => items.iter().map(T::to_string).collect::<Vec<_>>().join("; "),
        }
    }
}

macro_rules! shown_as_text {
    ($($type:ty),*) => {
        $( impl $crate::config::policy::section::Shown for $type {
            fn shown(&self) -> String {
                self.to_string()
            }
        } )*
    };
}
pub(super) use shown_as_text;

shown_as_text!(u32, f64, bool, String, ByteSize, Codes);

/// A whole number in a range.
pub(super) fn count(range: RangeInclusive<u32>) -> impl FnOnce(&mut Decoder<'_>, &Node) -> Option<u32> {
    move |d, node| integer(d, node, range)
}

/// A duration in a range.
pub(super) fn time(
    range: RangeInclusive<Duration>,
) -> impl FnOnce(&mut Decoder<'_>, &Node) -> Option<Duration> {
    move |d, node| duration(d, node, &range)
}

/// What `read` reads, or the word `none`, which takes back what a layer below says.
pub(super) fn or_none<T>(
    read: impl FnOnce(&mut Decoder<'_>, &Node) -> Option<T>,
) -> impl FnOnce(&mut Decoder<'_>, &Node) -> Option<Option<T>> {
    move |d, node| match node.is_text("none") {
        true => Some(None),
        false => read(d, node).map(Some),
    }
}
