//! A list that copies share until one of them is changed.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::Tree;

/// The items of a [`Tree::Array`]. Cloning is cheap; the first change of a shared list copies it.
#[derive(Clone, Debug, Default)]
pub struct List(Arc<Vec<Tree>>);

impl List {
    /// Returns whether both are copies of which neither was changed.
    #[must_use]
    pub fn is_shared_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Deref for List {
    type Target = Vec<Tree>;

    fn deref(&self) -> &Vec<Tree> {
        &self.0
    }
}

impl DerefMut for List {
    fn deref_mut(&mut self) -> &mut Vec<Tree> {
        Arc::make_mut(&mut self.0)
    }
}

impl PartialEq for List {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Eq for List {}

impl From<Vec<Tree>> for List {
    fn from(items: Vec<Tree>) -> Self {
        Self(Arc::new(items))
    }
}

impl<T: Into<Tree>> FromIterator<T> for List {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        items
            .into_iter()
            .map(Into::into)
            .collect::<Vec<Tree>>()
            .into()
    }
}

impl IntoIterator for List {
    type Item = Tree;
    type IntoIter = std::vec::IntoIter<Tree>;

    fn into_iter(self) -> Self::IntoIter {
        Arc::unwrap_or_clone(self.0).into_iter()
    }
}

impl<'a> IntoIterator for &'a List {
    type Item = &'a Tree;
    type IntoIter = std::slice::Iter<'a, Tree>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a mut List {
    type Item = &'a mut Tree;
    type IntoIter = std::slice::IterMut<'a, Tree>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter_mut()
    }
}

impl From<List> for Vec<Tree> {
    fn from(items: List) -> Self {
        Arc::unwrap_or_clone(items.0)
    }
}
