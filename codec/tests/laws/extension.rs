//! Molva's own messages, generated: right ones, and ones that are nearly right.

use codec::{
    BlockRange, Context, Envelope, GetPool, Hash, HaveGossip, HyParViewBody, HyParViewMessage,
    Item, Kind, Message, Network, Offer, Packing, PlumtreeMessage, PoolId, PoolPart, Priority,
    Records, SamplingBody, SamplingMessage, Sighting,
};
use proptest::collection::vec;
use proptest::prelude::*;

const NAMED: [Kind; 3] = [Kind::Block, Kind::CompactBlock, Kind::Transaction];

/// What the messages are made of.
#[derive(Clone, Debug)]
struct Draft {
    inner: Kind,
    packing: Packing,
    data: Vec<u8>,
    saved: u32,
    offers: Vec<Offer>,
    ids: Vec<PoolId>,
    numbers: [u64; 3],
    count: u16,
}

fn hash() -> impl Strategy<Value = Hash> {
    any::<[u8; 32]>().prop_map(Hash)
}

fn item() -> impl Strategy<Value = Item> {
    (proptest::sample::select(&NAMED[..]), hash()).prop_map(|(kind, id)| Item { kind, id })
}

fn offer() -> impl Strategy<Value = Offer> {
    // The smallest limit of the three, on the lightest of the networks.
    let bytes_max = super::law::NETWORKS.map(|network| {
        let limits = NAMED.map(|kind| network.limits.body_bytes_max(kind));
        limits.into_iter().min().expect("three kinds")
    });
    let bytes_max = bytes_max.into_iter().min().expect("some networks") as u32;
    (item(), 0..=bytes_max).prop_map(|(item, bytes)| Offer { item, bytes })
}

fn draft() -> impl Strategy<Value = Draft> {
    let held = Kind::ALL.into_iter().filter(|kind| Envelope::may_hold(*kind)).collect::<Vec<_>>();
    let packing = prop_oneof![Just(Packing::Stored), Just(Packing::Zstd)];
    let envelope = (proptest::sample::select(held), packing, vec(any::<u8>(), 0..300), 1..500_u32);
    let lists = (vec(offer(), 1..20), vec(any::<[u8; 6]>().prop_map(PoolId), 0..40));
    (envelope, lists, any::<[u64; 3]>(), 1..=128_u16).prop_map(
        |((inner, packing, data, saved), (offers, ids), numbers, count)| Draft {
            inner,
            packing,
            data,
            saved,
            offers,
            ids,
            numbers,
            count,
        },
    )
}

/// The draft as each of the messages.
fn each(draft: &Draft, judge: impl Fn(Message<'_>)) {
    let Draft { inner: kind, packing, data, saved, offers, ids, numbers, count } = draft;
    let [salt, one, other] = *numbers;
    let items: Vec<_> = offers.iter().map(|offer| offer.item).collect();
    let haves: Vec<_> =
        items.iter().map(|item| HaveGossip { id: item.id, round: *count }).collect();
    let neighbor = HyParViewMessage::Neighbor { priority: Priority::High, epoch: salt };
    let (mut body, mut sampling) = (Vec::new(), Vec::new());
    let sightings = vec![Sighting { addr: ([192, 0, 2, 1], *count).into(), age_ms: *saved }];
    let request = SamplingMessage::Request { exchange: *saved, wants: true, sightings };
    let (offers, items, first) = (Records::new(offers), Records::new(&items), items[0].id);
    let plain = match packing {
        Packing::Stored => 0,
        Packing::Zstd => *saved,
    };
    let envelope = Envelope {
        kind: *kind,
        packing: *packing,
        plain_bytes: data.len() as u32 + plain,
        id: first,
        data,
    };
    let asked = GetPool { salt, from: one.min(other) };
    let part = PoolPart { asked, to: one.max(other), ids: Records::new(ids) };
    let messages = [
        Message::Packed(envelope),
        Message::Have(offers),
        Message::Coming(offers),
        Message::Want(items),
        Message::NotFound(items),
        Message::GetBlocks(BlockRange { first, count: *count }),
        Message::GetPool(asked),
        Message::PoolIds(part),
        Message::WantPool(part),
        Message::HyParView(HyParViewBody::written(&neighbor, &mut body)),
        Message::Plumtree(PlumtreeMessage::Have(Records::new(&haves))),
        Message::Sampling(SamplingBody::written(&request, &mut sampling)),
    ];
    let kinds = Kind::ALL.into_iter().filter(|kind| kind.is_extension());
    assert!(messages.iter().map(Message::kind).eq(kinds), "each kind has its message");
    messages.into_iter().for_each(judge);
}

proptest! {
    #[test]
    fn our_own_messages_come_back(draft in draft()) {
        each(&draft, |message| {
            for network in &super::law::NETWORKS {
                let mut body = Vec::new();
                message.encode_body(1000, &mut body).expect("it can be written");
                let context = Context { version: 1000, network };
                assert_eq!(Message::decode(message.kind(), &body, &context), Ok(message));
                super::law::any_body_is_read_or_refused(message.kind(), &body);
            }
        });
    }

    #[test]
    fn nearly_right_ones_are_read_or_refused(
        draft in draft(),
        at in any::<prop::sample::Index>(),
        byte in prop_oneof![0..16_u8, any::<u8>()],
        flaw in 0..3_u8,
    ) {
        each(&draft, |message| {
            let mut body = Vec::new();
            message.encode_body(1000, &mut body).expect("it can be written");
            let at = at.index(body.len());
            match flaw {
                0 => body[at] = byte,
                1 => body.truncate(at),
                _ => body.push(byte),
            }
            super::law::any_body_is_read_or_refused(message.kind(), &body);
        });
    }

    #[test]
    fn a_stream_of_them_is_cut_anywhere(
        drafts in vec(draft(), 1..3),
        cuts in vec(any::<usize>(), 0..20),
    ) {
        let (network, stream) = (&Network::DEV, std::cell::RefCell::new(Vec::new()));
        for draft in &drafts {
            each(draft, |message| {
                let stream = &mut *stream.borrow_mut();
                message.encode_frame(network, 1000, stream).expect("within the limit");
            });
        }
        let stream = stream.into_inner();
        let meaning = super::law::meaning(&stream, network);
        let kinds = Kind::ALL.into_iter().filter(|kind| kind.is_extension()).count();
        assert_eq!(meaning.frames.len(), kinds * drafts.len());
        super::law::cutting_changes_nothing(&stream, &cuts, network);
        super::law::giving_up_a_frame_loses_it_alone(&stream, &cuts, network);
    }
}

proptest! {
    #[test]
    fn datagrams_are_opened_or_refused(
        head in any::<[u8; 24]>(),
        call in vec(any::<u8>(), 0..8),
        news in vec((0..8_u8, vec(any::<u8>(), 0..40)), 0..6),
    ) {
        let mut body = [&head[..], &call].concat();
        for (tag, rest) in news {
            body.push(tag);
            body.extend(rest);
        }
        super::law::any_datagram_is_opened_or_refused(&body);
    }
}
