"""Words of shops, and the classes of ImageNet that show what they mean. Written down without a look at any photo.

``fit_looks.py`` learns from them what these words look like, and from those what others do.
"""

from __future__ import annotations

__all__ = ["SHOP_WORDS"]

_FEET = ("running shoe", "Loafer", "clog", "sandal", "cowboy boot")
_TOPS = ("sweatshirt", "jersey", "cardigan")
_COATS = ("trench coat", "fur coat", "cloak", "poncho")
_SKIRTS = ("miniskirt", "overskirt", "hoopskirt")
_BAGS = ("backpack", "purse", "mailbag")
_HATS = ("cowboy hat", "sombrero", "bonnet", "bathing cap", "shower cap")
_JEWELLERY = ("necklace", "chain", "buckle")
_COOKING = ("frying pan", "wok", "spatula", "Dutch oven", "Crock Pot", "ladle", "mixing bowl")
_TABLE = ("plate", "cup", "soup bowl", "mixing bowl", "coffee mug", "teapot", "pitcher")
_BATH = ("bath towel", "soap dispenser", "shower curtain", "tub")
_LAMPS = ("table lamp", "lampshade", "spotlight")
_SEATS = ("folding chair", "rocking chair", "studio couch", "barber chair")
_STORING = ("bookcase", "wardrobe", "chiffonier", "chest", "china cabinet")
_MACHINES = ("espresso maker", "toaster", "vacuum", "microwave", "waffle iron", "washer", "dishwasher")
_FACE = ("lipstick", "face powder", "paintbrush")
_CARE = ("lotion", "sunscreen", "soap dispenser", "hair spray", "pill bottle")
_CAMP = ("mountain tent", "sleeping bag", "backpack", "water bottle", "torch")
_ROCK = ("cliff", "knot", "hook", "crash helmet", "buckle")
_SNOW = ("ski", "ski mask", "snowmobile", "alp", "crash helmet")
_BIKES = ("mountain bike", "bicycle-built-for-two", "crash helmet")
_WAY = ("magnetic compass", "binoculars", "stopwatch")
_BALLS = ("soccer ball", "basketball", "volleyball", "tennis ball", "rugby ball", "golf ball")
_SOUND = ("loudspeaker", "radio", "cassette player", "iPod", "microphone")
_CABLES = ("switch", "modem", "coil")
_CAMERAS = ("reflex camera", "Polaroid camera", "lens cap", "tripod")
_SCREENS = ("monitor", "television", "laptop", "screen", "desktop computer")
_ANY_DEVICE = (*_SCREENS[:3], "reflex camera", "loudspeaker", "cellular telephone", "digital watch", "iPod")
_TOOLS = ("hammer", "screwdriver", "power drill", "carpenter's kit", "plane")
_MUSIC = ("acoustic guitar", "electric guitar", "violin", "drum", "sax", "flute", "grand piano")
_PAPER = ("notebook", "binder", "ballpoint", "fountain pen", "pencil box", "rubber eraser", "envelope")
_BABY = ("diaper", "bib", "bassinet", "crib", "nipple")
_PLAY = ("teddy", "jigsaw puzzle", "toyshop", "balloon", "pinwheel")
_FOOD = ("grocery store", "packet", "bakery", "confectionery", "ice cream", "French loaf", "pizza")
_DRINKS = ("red wine", "wine bottle", "beer bottle", "pop bottle", "water bottle", "espresso")

# words that mean the same, parted by commas -> classes
SHOP_WORDS: dict[str, tuple[str, ...]] = {
    # to wear
    "shoes, footwear": _FEET,
    "sneakers, trainers, running shoes, sports shoes": ("running shoe",),
    "boots, ankle boots, hiking boots": ("cowboy boot",),
    "sandals, flip flops": ("sandal",),
    "slippers, clogs": ("clog",),
    "loafers, dress shoes, leather shoes": ("Loafer",),
    "clothes, clothing, apparel, fashion": (*_TOPS, *_COATS, "jean"),
    "jackets, outerwear": _COATS,
    "coat, winter coat": ("trench coat", "fur coat"),
    "raincoat, rain jacket": ("poncho", "trench coat", "umbrella"),
    "t-shirt, tee": ("jersey",),
    "polo shirt": ("jersey", "lab coat"),
    "shirt, dress shirt": ("lab coat", "pajama", *_TOPS),
    "blouse, tunic": ("abaya", "kimono"),
    "sweater, jumper, pullover, knitwear": ("cardigan", "sweatshirt", "wool"),
    "hoodie, sweatshirt": ("sweatshirt",),
    "jeans, denim": ("jean",),
    "trousers, pants": ("jean", "pajama"),
    "shorts, swim shorts": ("swimming trunks",),
    "skirt": _SKIRTS,
    "dress, gown": ("gown", "hoopskirt", "sarong"),
    "swimwear, swimsuit, bikini": ("bikini", "maillot", "maillot tank suit"),
    "underwear, lingerie, bra": ("brassiere", "bikini"),
    "pyjamas, nightwear": ("pajama",),
    "socks, tights": ("sock", "Christmas stocking"),
    "suit, blazer": ("suit", "military uniform"),
    "tie, bow tie": ("Windsor tie", "bow tie", "bolo tie"),
    "hat, cap, beanie, headwear": _HATS,
    "scarf, shawl": ("stole", "feather boa"),
    "gloves, mittens": ("mitten",),
    "belt": ("buckle",),
    "accessories": (*_BAGS, "stole", "sunglasses", "wallet"),
    "bags, luggage": _BAGS,
    "handbag, purse, shoulder bag, tote bag": ("purse",),
    "backpack, rucksack, school bag": ("backpack",),
    "messenger bag, satchel, briefcase": ("mailbag",),
    "wallet, purse for coins": ("wallet",),
    "watch, wristwatch, smartwatch, wearable": ("digital watch",),
    "sunglasses, glasses, eyewear": ("sunglasses", "sunglass"),
    "jewelry, jewellery": _JEWELLERY,
    "necklace, pendant": ("necklace",),
    "bracelet, bangle": ("chain", "buckle"),
    "earrings": ("necklace", "safety pin"),
    "umbrella": ("umbrella",),
    # to care for oneself
    "beauty, cosmetics": (*_FACE, *_CARE, "perfume"),
    "makeup, make-up": _FACE,
    "lipstick": ("lipstick",),
    "perfume, fragrance": ("perfume",),
    "skin care, lotion, cream": ("lotion", "sunscreen"),
    "grooming, personal care, shampoo": _CARE,
    "hair care, hair dryer, salon": ("hand blower", "hair spray", "hair slide"),
    "bath, bathroom, bathing": _BATH,
    "towel": ("bath towel",),
    "pharmacy, vitamins": ("pill bottle", "medicine chest"),
    # at home
    "housewares, homewares, household": (*_TABLE, "pillow", "bath towel", "espresso maker"),
    "furniture": (*_SEATS, *_STORING[:2], "desk", "dining table"),
    "chair, armchair, seat": _SEATS,
    "sofa, couch": ("studio couch",),
    "table": ("dining table", "desk"),
    "desk, office furniture": ("desk",),
    "bed, bedroom": ("four-poster", "quilt", "pillow"),
    "bedding, blanket, duvet": ("quilt",),
    "pillow, cushion": ("pillow",),
    "shelf, cupboard, wardrobe, storage": _STORING,
    "lamp, light, lighting": _LAMPS,
    "candle": ("candle",),
    "vase, decor, decoration": ("vase",),
    "rug, carpet": ("prayer rug", "doormat"),
    "curtain, blinds": ("window shade", "theater curtain", "shower curtain"),
    "clock": ("wall clock", "analog clock", "digital clock"),
    "kitchen, kitchenware, utensils": _COOKING,
    "cookware, pot, pan": ("frying pan", "wok", "Dutch oven", "pot"),
    "bowl": ("mixing bowl", "soup bowl"),
    "plates, tableware, dinnerware": ("plate", "soup bowl", "cup"),
    "mug, cup": ("coffee mug", "cup"),
    "bottle, drinking bottle, flask": ("water bottle",),
    "teapot, kettle": ("teapot", "coffeepot"),
    "coffee machine": ("espresso maker",),
    "appliance, household appliance": _MACHINES,
    "vacuum cleaner": ("vacuum",),
    "toaster": ("toaster",),
    "microwave, oven": ("microwave", "stove"),
    "fridge, refrigerator, freezer": ("refrigerator",),
    "washing machine": ("washer",),
    "iron": ("iron",),
    "basket, hamper": ("hamper", "shopping basket"),
    "cleaning, broom, mop": ("broom", "bucket", "swab"),
    "garden, gardening": ("pot", "shovel", "lawn mower", "greenhouse"),
    "tools, hardware": _TOOLS,
    # devices
    "electronics, gadgets": _ANY_DEVICE,
    "headphones, earphones": ("iPod", "loudspeaker", "cassette player"),
    "speaker, loudspeaker": ("loudspeaker",),
    "audio, radio": _SOUND,
    "camera": ("reflex camera", "Polaroid camera"),
    "photography": _CAMERAS,
    "phone, smartphone, mobile phone": ("cellular telephone",),
    "laptop, notebook computer": ("laptop",),
    "tablet": ("hand-held computer", "iPod"),
    "computer, monitor, television": _SCREENS,
    "keyboard": ("computer keyboard",),
    "computer mouse": ("mouse",),
    "printer": ("printer", "photocopier"),
    "cable, charger, adapter": _CABLES,
    "router, network": ("modem",),
    "hard drive, storage drive": ("hard disc",),
    "game controller, gaming": ("joystick",),
    "microphone": ("microphone",),
    # outdoors and sports
    "outdoors, outdoor": ("mountain tent", "sleeping bag", "reel", "hook", "cliff", "alp"),
    "camping, tent": ("mountain tent", "sleeping bag"),
    "hiking, trekking": _CAMP,
    "climbing": _ROCK,
    "fishing": ("reel", "hook"),
    "skiing, snowboarding, boarding, ski": _SNOW,
    "cycling, bicycle, bike": _BIKES,
    "helmet": ("crash helmet", "football helmet"),
    "navigation, compass": _WAY,
    "binoculars": ("binoculars",),
    "flashlight, torch": ("torch", "spotlight"),
    "sports, ball": _BALLS,
    "fitness, gym": ("dumbbell", "barbell", "punching bag"),
    "tennis, racket": ("racket", "tennis ball"),
    "golf": ("golf ball", "golfcart"),
    "swimming, diving": ("snorkel", "bathing cap", "swimming trunks"),
    # all else
    "toys": _PLAY,
    "soft toy, teddy bear": ("teddy",),
    "puzzle, game": ("jigsaw puzzle", "crossword puzzle"),
    "baby": _BABY,
    "pet, pets, dog": ("muzzle", "tennis ball"),
    "musical instruments, music": _MUSIC,
    "guitar": ("acoustic guitar", "electric guitar"),
    "stationery, office supplies": _PAPER,
    "books, comic": ("book jacket", "comic book", "bookshop"),
    "groceries, food": _FOOD,
    "consumables, snacks, sweets": ("packet", "confectionery", "bakery"),
    "bread, bakery": ("French loaf", "bagel", "bakery"),
    "vegetables": ("head cabbage", "broccoli", "cucumber", "bell pepper", "zucchini"),
    "fruit": ("Granny Smith", "orange", "lemon", "banana", "strawberry"),
    "drinks, beverages": _DRINKS,
    "wine": ("red wine", "wine bottle"),
    "car parts, tyre": ("car wheel", "disk brake", "oil filter"),
}
