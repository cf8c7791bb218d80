from napari_pvs.training.distributed.world import Share, World


def test_shares_are_all_and_apart():
    world = World()
    world.size = 3
    for count in (0, 1, 2, 3, 7, 9):
        parts = []
        for world.rank in range(3):
            share = world.share(count)
            assert share.of == count
            parts += range(count)[share.slice]
        assert parts == list(range(count))
    assert Share(2, 5, 9).within(0, 3) == Share(2, 3, 3)
    assert Share(2, 5, 9).within(5, 9) == Share(0, 0, 4)
