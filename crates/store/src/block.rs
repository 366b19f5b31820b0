//! Blocks that come one by one, as out of a CAR file.
//!
//! A raw block becomes an object like any other, with its file. A dag-pb or DAG-CBOR block becomes
//! a *node object*: its bytes and its links are rows, and whatever it links to is held as long as
//! it is. So a pinned root holds its whole graph, in whatever order the blocks came, and nothing
//! has to walk the graph to know.
//!
//! Which file a node describes is not this crate's concern here; see the readers of UnixFS.

use bytes::Bytes;
use cid::Cid;

use crate::{
    Error, PutOptions, Store,
    dag::{self, DAG_CBOR},
    meta,
    put::Content,
    unixfs::{self, Block, DAG_PB, Dag, IDENTITY, MAX_BLOCK, RAW},
};

impl Store {
    /// Stores one block, raw, dag-pb or DAG-CBOR, of at most [`MAX_BLOCK`] bytes; whether it was
    /// new. When this returns it is on the disk. A block inside an object that is held is there
    /// already.
    ///
    /// Until something that is held links to it, only the grace of [`Store::collect`] keeps it.
    pub fn put_block(&self, cid: &Cid, bytes: Bytes) -> Result<bool, Error> {
        let refuse = |what| Error::Block {
            cid: Box::new(*cid),
            what,
        };
        if cid.hash().code() == IDENTITY {
            // The CID is the block.
            return Ok(false);
        }
        if !matches!(cid.codec(), RAW | DAG_PB | DAG_CBOR) {
            return Err(refuse("its codec is not raw, dag-pb or dag-cbor"));
        }
        if cid.hash().code() != unixfs::SHA2_256 {
            return Err(refuse("its hash is not sha2-256"));
        }
        if bytes.len() > MAX_BLOCK {
            return Err(refuse("it has more than 2 MiB"));
        }
        if !unixfs::names(cid, &bytes) {
            return Err(refuse("its bytes are not what the CID says"));
        }
        let held = self
            .meta()
            .write(|tx| meta::touch_holder(tx, cid).map_err(|e| self.meta().error(e)))?;
        if held && self.is_whole_block(cid)? {
            return Ok(false);
        }
        self.put_own(cid, bytes)
    }

    /// Whether the file that a held raw block lies in is there; the put repairs it otherwise.
    fn is_whole_block(&self, cid: &Cid) -> Result<bool, Error> {
        match self.get_block(cid) {
            Ok(block) => Ok(block.is_some()),
            Err(Error::Damaged { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes a block that lies inside an object an object of its own, so that it can be pinned.
    pub(crate) fn own(&self, cid: &Cid) -> Result<(), Error> {
        if self.meta().read(|c| meta::object(c, cid))?.is_some() {
            return Ok(());
        }
        match self.get_block(cid)? {
            Some(block) if cid.hash().code() != IDENTITY => self.put_own(cid, block).map(|_| ()),
            _ => Ok(()),
        }
    }

    /// Records a block that has been checked as an object.
    pub(crate) fn put_own(&self, cid: &Cid, bytes: Bytes) -> Result<bool, Error> {
        if cid.codec() != RAW {
            return self.put_node(cid, &bytes);
        }
        let size = bytes.len() as u64;
        let root = Cid::new_v1(RAW, *cid.hash());
        let leaf = Block {
            cid: root,
            offset: 0,
            length: size,
            node: None,
        };
        let dag = Dag {
            root,
            size,
            blocks: vec![leaf],
        };
        let stored = self.record(dag, Content::Memory(bytes), &PutOptions::default())?;
        Ok(stored.new)
    }

    fn put_node(&self, cid: &Cid, node: &[u8]) -> Result<bool, Error> {
        let children = dag::links(cid, node).map_err(|malformed| Error::Block {
            cid: Box::new(*cid),
            what: malformed.0,
        })?;
        let children = children.iter().map(meta::key).collect();
        self.meta().write(|tx| {
            let fail = |e| self.meta().error(e);
            if let Some(row) = meta::object(tx, cid).map_err(fail)? {
                meta::touch(tx, row.id).map_err(fail)?;
                return Ok(false);
            }
            meta::insert_node(tx, cid, node, &children).map_err(fail)?;
            Ok(true)
        })
    }
}
