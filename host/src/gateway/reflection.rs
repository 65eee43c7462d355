//! Server reflection, v1 and v1alpha, over the descriptors of all plugins.
//!
//! Each plugin keeps its own set of files: two plugins may have different files of one name, and an answer
//! never mixes them, since it brings a file together with what that file imports. Where plugins define one
//! symbol differently, the highest version answers; metadata `plugmesh-plugin` asks one plugin.

mod answer;
mod catalog;
mod descriptors;
mod service;

#[cfg(test)]
mod tests;

pub use catalog::Catalog;
pub(super) use catalog::OWN_SERVICES;
pub use descriptors::DescriptorError;
pub(super) use service::Reflection;
