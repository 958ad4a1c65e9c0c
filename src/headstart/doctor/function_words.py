"""The most frequent function words of some languages: few, short, and about half of any text.

They tell a language by counting alone. A word may be of several languages; what counts is which
list has most of a text's words. Text whose script belongs to one language needs no list.
"""

from __future__ import annotations

from collections import Counter

LISTS = {
    "English": "the and of to is that it was for with this you not are but have they be as on "
    "his from at by which there we my i in an or so if what were been would has had",
    "German": "der die das und nicht ist ein eine zu den mit von auf für sich es dem auch im "
    "werden ich sind wird bei einem einer eines als an aus man mehr wie nach nur noch "
    "aber",
    "French": "le la les des et est une du pas que dans pour qui ce il sur au avec ne plus sont "
    "par cette mais un en je vous nous aux elle leur ses sa son ou très à de",
    "Spanish": "el la los las y es una del que no por con para un lo se su al como más pero este "
    "está en de muy son sus fue ha si me ya le hay todo esta",
    "Italian": "il lo gli che di è una del per non con sono della nel alla più anche questo ma "
    "da dei un in la le si ho delle ed come al mi molto dal",
    "Portuguese": "os as que e é uma do da não com para em no na um por mais dos das ao como foi "
    "de se o muito seu sua mas pelo pela são tem eu",
    "Dutch": "de het een en van is niet dat op te voor met zijn die aan er maar ook bij hij ik "
    "in je wordt naar om dan heeft deze nog wel dit uit",
    "Swedish": "och att det som en är på för inte med av till den har jag de om ett men var så "
    "från vi kan när här mycket hade mig sig",
    "Danish": "og at det som er på en af til ikke med den har jeg de for der et men var sig om "
    "kan meget så være eller fra blev også hvor",
    "Polish": "i w na nie się z że do jest to o jak ale po co tak za przez od są dla jego było "
    "być który która może tylko już ten bardzo",
    "Czech": "a je se na v že to s z do o ale jako za jsem by k si jsou pro po byl tak co nebo "
    "který která velmi jen už může",
    "Romanian": "și de la nu în este cu pe care mai ce din pentru un o că sunt au fost dar prin "
    "sau foarte după fi am lui ale acest",
    "Hungarian": "a az és hogy nem is egy meg ez de van csak már vagy mint el ha volt még azt aki "
    "ami nagyon kell lehet minden között",
    "Finnish": "ja on ei se että oli hän mutta niin kun mitä ovat tai myös ole sen joka kuin jos "
    "vain minä nyt hyvin olen mukaan kanssa",
    "Turkish": "bir ve bu da de için çok ile ne var gibi daha ama kadar değil olarak sonra en mi "
    "her olan ben o ki şey bana hiç",
    "Indonesian": "yang dan di ini itu dengan untuk tidak dari dalam akan pada juga ada saya ke "
    "karena bisa sudah oleh tersebut kami mereka sangat",
    "Russian": "и в не на что он с как это но по из у за так же от было бы для мы я то она все "
    "его очень только еще уже",
    "Ukrainian": "і в не на що він з як це але та у до за від є було для ми я вона його дуже "
    "тільки ще вже або які при",
}
"""Words, without case, by language."""

LANGUAGES = tuple(LISTS)

WEIGHTS = {
    word: 1 / count
    for word, count in Counter(word for words in LISTS.values() for word in words.split()).items()
}
"""What a word says: 1 where one language has it, 1/5 where five do, as of "a"."""

OF_SCRIPTS = {
    "Hangul": "Korean",
    "Kana": "Japanese",
    "Han": "Chinese",
    "Thai": "Thai",
    "Greek": "Greek",
    "Hebrew": "Hebrew",
    "Georgian": "Georgian",
    "Armenian": "Armenian",
}
"""Scripts that most likely mean one language."""
