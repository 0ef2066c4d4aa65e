//! A red-black tree whose shape is exactly that of the kernel's (lib/rbtree.c), because which pieces of the out-of-order
//! queue join depends on the way from the root to the new leaf. Nodes stand in a vector and are named by their index.

/// Name of a node.
pub(super) type Id = u32;
/// No node.
pub(super) const NONE: Id = Id::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Left,
    Right,
}

impl Way {
    const fn other(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
        }
    }
}

#[derive(Clone, Debug)]
struct Node<T> {
    parent: Id,
    children: [Id; 2],
    red: bool,
    value: T,
}

/// Values in the order that the caller gives them by their places.
#[derive(Clone, Debug)]
pub(super) struct Tree<T> {
    nodes: Vec<Option<Node<T>>>,
    free: Vec<Id>,
    root: Id,
}

impl<T> Default for Tree<T> {
    fn default() -> Self {
        Self { nodes: Vec::new(), free: Vec::new(), root: NONE }
    }
}

impl<T> Tree<T> {
    pub(super) const fn root(&self) -> Id {
        self.root
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len() - self.free.len()
    }

    /// Bytes of memory of the nodes.
    pub(super) fn memory(&self) -> usize {
        self.nodes.capacity() * size_of::<Option<Node<T>>>() + self.free.capacity() * size_of::<Id>()
    }

    pub(super) fn get(&self, id: Id) -> Option<&T> {
        self.nodes.get(id as usize)?.as_ref().map(|node| &node.value)
    }

    pub(super) fn get_mut(&mut self, id: Id) -> Option<&mut T> {
        self.node_mut(id).map(|node| &mut node.value)
    }

    pub(super) fn child(&self, id: Id, way: Way) -> Id {
        self.node(id).map_or(NONE, |node| node.children[way as usize])
    }

    pub(super) fn first(&self) -> Id {
        self.outermost(self.root, Way::Left)
    }

    pub(super) fn last(&self) -> Id {
        self.outermost(self.root, Way::Right)
    }

    /// The node behind this one.
    pub(super) fn next(&self, id: Id) -> Id {
        let right = self.child(id, Way::Right);
        if right != NONE {
            return self.outermost(right, Way::Left);
        }
        let (mut below, mut above) = (id, self.parent(id));
        while above != NONE && self.child(above, Way::Right) == below {
            (below, above) = (above, self.parent(above));
        }
        above
    }

    /// The values in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        let mut id = self.first();
        std::iter::from_fn(move || {
            let value = self.get(id)?;
            id = self.next(id);
            Some(value)
        })
    }

    /// Puts a value where `parent` has no child; `NONE` is the parent of the root.
    pub(super) fn insert(&mut self, parent: Id, way: Way, value: T) -> Id {
        let node = Some(Node { parent, children: [NONE; 2], red: true, value });
        let id = match self.free.pop() {
            Some(id) => {
                self.nodes[id as usize] = node;
                id
            }
            None => {
                self.nodes.push(node);
                (self.nodes.len() - 1) as Id
            }
        };
        match self.node_mut(parent) {
            Some(above) => above.children[way as usize] = id,
            None => self.root = id,
        }
        self.balance_inserted(id);
        id
    }

    /// Takes a node out. The last one takes the memory with it.
    pub(super) fn remove(&mut self, id: Id) -> Option<T> {
        let node = self.node(id)?;
        let [left, right] = node.children;
        let (mut red, child, mut parent, mut way) =
            (node.red, if left == NONE { right } else { left }, node.parent, self.way_of(id));
        if left == NONE || right == NONE {
            self.put(parent, way, child);
        } else {
            let successor = self.outermost(right, Way::Left);
            let orphan = self.child(successor, Way::Right);
            let (above, taken_red) = (self.parent(successor), self.is_red(successor));
            let colour = red;
            self.put(parent, way, successor);
            (red, parent, way) = (taken_red, successor, Way::Right);
            if above != id {
                (parent, way) = (above, Way::Left);
                self.put(above, Way::Left, orphan);
                self.put(successor, Way::Right, right);
            }
            self.put(successor, Way::Left, left);
            self.paint(successor, colour);
        }
        if !red {
            self.balance_removed(parent, way);
        }
        let value = self.nodes.get_mut(id as usize)?.take()?.value;
        self.free.push(id);
        if self.root == NONE {
            *self = Self::default();
        }
        Some(value)
    }

    fn node(&self, id: Id) -> Option<&Node<T>> {
        self.nodes.get(id as usize)?.as_ref()
    }

    fn node_mut(&mut self, id: Id) -> Option<&mut Node<T>> {
        self.nodes.get_mut(id as usize)?.as_mut()
    }

    fn parent(&self, id: Id) -> Id {
        self.node(id).map_or(NONE, |node| node.parent)
    }

    /// Missing nodes are black.
    fn is_red(&self, id: Id) -> bool {
        self.node(id).is_some_and(|node| node.red)
    }

    fn paint(&mut self, id: Id, red: bool) {
        if let Some(node) = self.node_mut(id) {
            node.red = red;
        }
    }

    fn way_of(&self, id: Id) -> Way {
        if self.child(self.parent(id), Way::Left) == id { Way::Left } else { Way::Right }
    }

    fn outermost(&self, mut id: Id, way: Way) -> Id {
        while self.child(id, way) != NONE {
            id = self.child(id, way);
        }
        id
    }

    /// Makes `child` a child of `parent`, or the root.
    fn put(&mut self, parent: Id, way: Way, child: Id) {
        match self.node_mut(parent) {
            Some(above) => above.children[way as usize] = child,
            None => self.root = child,
        }
        if let Some(below) = self.node_mut(child) {
            below.parent = parent;
        }
    }

    /// Turns `top` down to `way`; its child on the other side comes up.
    fn rotate(&mut self, top: Id, way: Way) {
        let (above, above_way) = (self.parent(top), self.way_of(top));
        let up = self.child(top, way.other());
        let between = self.child(up, way);
        self.put(top, way.other(), between);
        self.put(above, above_way, up);
        self.put(up, way, top);
    }

    fn balance_inserted(&mut self, mut id: Id) {
        while self.is_red(self.parent(id)) {
            let parent = self.parent(id);
            let (grand, way) = (self.parent(parent), self.way_of(parent));
            let uncle = self.child(grand, way.other());
            if self.is_red(uncle) {
                self.paint(uncle, false);
                self.paint(parent, false);
                self.paint(grand, true);
                id = grand;
                continue;
            }
            if self.way_of(id) != way {
                self.rotate(parent, way);
            }
            self.paint(self.child(grand, way), false);
            self.paint(grand, true);
            self.rotate(grand, way.other());
            break;
        }
        self.paint(self.root, false);
    }

    /// Repairs the tree below `parent`, whose child on that side has one black node too few above its leaves.
    fn balance_removed(&mut self, mut parent: Id, mut way: Way) {
        loop {
            let child = if parent == NONE { self.root } else { self.child(parent, way) };
            if parent == NONE || self.is_red(child) {
                return self.paint(child, false);
            }
            let mut sibling = self.child(parent, way.other());
            if self.is_red(sibling) {
                self.paint(sibling, false);
                self.paint(parent, true);
                self.rotate(parent, way);
                sibling = self.child(parent, way.other());
            }
            let (near, far) = (self.child(sibling, way), self.child(sibling, way.other()));
            if !self.is_red(near) && !self.is_red(far) {
                self.paint(sibling, true);
                let above = self.parent(parent);
                if self.is_red(parent) || above == NONE {
                    return self.paint(parent, false);
                }
                (way, parent) = (self.way_of(parent), above);
                continue;
            }
            if !self.is_red(far) {
                self.paint(near, false);
                self.paint(sibling, true);
                self.rotate(sibling, way.other());
                sibling = self.child(parent, way.other());
            }
            self.paint(sibling, self.is_red(parent));
            self.paint(parent, false);
            self.paint(self.child(sibling, way.other()), false);
            return self.rotate(parent, way);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl Tree<u32> {
        fn add(&mut self, value: u32) {
            let (mut parent, mut way, mut at) = (NONE, Way::Left, self.root);
            while let Some(&known) = self.get(at) {
                (parent, way) = (at, if value < known { Way::Left } else { Way::Right });
                at = self.child(at, way);
            }
            self.insert(parent, way, value);
        }

        /// Black nodes on every way down; panics where the rules of colours are broken.
        fn black_height(&self, id: Id, above: Id) -> usize {
            if id == NONE {
                return 0;
            }
            assert_eq!(self.parent(id), above);
            assert!(!self.is_red(id) || !self.is_red(above), "red below red");
            let ways = [Way::Left, Way::Right].map(|way| self.black_height(self.child(id, way), id));
            assert_eq!(ways[0], ways[1]);
            ways[0] + usize::from(!self.is_red(id))
        }
    }

    proptest! {
        #[test]
        fn stays_ordered_and_balanced(steps in proptest::collection::vec((any::<u8>(), any::<bool>()), 0..300)) {
            let (mut tree, mut model) = (Tree::default(), Vec::new());
            for (value, add) in steps {
                if add {
                    tree.add(u32::from(value));
                    let at = model.partition_point(|&known| known <= u32::from(value));
                    model.insert(at, u32::from(value));
                } else if !model.is_empty() {
                    let at = usize::from(value) % model.len();
                    let id = (0..at).fold(tree.first(), |id, _| tree.next(id));
                    prop_assert_eq!(tree.remove(id), Some(model.remove(at)));
                }
                tree.black_height(tree.root(), NONE);
                prop_assert_eq!(tree.iter().copied().collect::<Vec<_>>(), model.clone());
                prop_assert_eq!(tree.len(), model.len());
            }
        }
    }
}
